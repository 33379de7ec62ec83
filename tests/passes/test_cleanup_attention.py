from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.cleanup_attention import CleanupAttention
from pytest_modelcheck.pipeline import run_pass
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses

PASS = CleanupAttention()

HEADER = '<ir_version: 10, opset_import: ["" : 20]>'
BATCH, SEQUENCE, WIDTH, HEADS, DEPTH = 2, 6, 12, 3, 4


def numbers(**more: Any) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(0)
    made = {f"w{name}": draw.normal(size=(WIDTH, WIDTH)) / 3 for name in "qkv"}
    made |= {f"b{name}": draw.normal(size=WIDTH) / 3 for name in "qkv"}
    values = {name: array.astype(np.float32) for name, array in made.items()}
    values |= {
        "heads": np.array([0, 0, HEADS, DEPTH]),
        "joined": np.array([0, 0, WIDTH]),
        "scale": np.float32(0.37),
        "root": np.float32(0.6),
        "zero": np.float32(0),
        "lowest": np.finfo(np.float32).min,
        "infinity": np.float32(-np.inf),
        "causal": np.tril(np.ones((SEQUENCE, SEQUENCE), bool)),
    }
    return {name: np.asarray(array) for name, array in (values | more).items()}


def project(name: str, x: str = "x", *, perm: str = "0, 2, 1, 3", bias: bool = True) -> str:
    product = f"m{name} = MatMul ({x}, w{name})\n l{name} = " + (
        f"Add (m{name}, b{name})" if bias else f"Identity (m{name})"
    )
    if not bias:
        product = f"l{name} = MatMul ({x}, w{name})"
    return f"""{product}
        r{name} = Reshape (l{name}, heads)
        {name} = Transpose <perm = [{perm}]> (r{name})
    """


CONTEXT = """c = MatMul (p, v)
        t = Transpose <perm = [0, 2, 1, 3]> (c)
        y = Reshape (t, joined)"""

EAGER = f"""{project("q")} {project("k", perm="0, 2, 3, 1")} {project("v")}
        s = MatMul (q, k)
        z = Mul (s, scale)
        p = Softmax <axis = -1> (z)
        {CONTEXT}"""

SDPA = f"""{project("q")} {project("k", perm="0, 2, 3, 1")} {project("v")}
        qs = Mul (q, root)
        ks = Mul (k, root)
        s = MatMul (qs, ks)
        a = Add (s, mask)
        p0 = Softmax <axis = -1> (a)
        n = IsNaN (p0)
        p = Where (n, zero, p0)
        {CONTEXT}"""


def attention(
    body: str,
    *,
    inputs: str = f"float[batch,seq,{WIDTH}] x",
    outputs: str = "float[a,b,c] y",
    opset: int = 20,
    **more: Any,
) -> onnx.ModelProto:
    used = {name: array for name, array in numbers(**more).items() if any(f"{c}{name}" in body for c in "( ")}
    header = HEADER.replace("20", str(opset))
    made = make(f"{header} g ({inputs}) => ({outputs}) {{ {body} }}", **used)
    return made


PACKED = {"Add": 1, "MatMul": 3, "Reshape": 2, "Softmax": 1, "Split": 1, "Transpose": 3}


def test_an_eager_attention_becomes_one_projection_and_no_scale() -> None:
    assert fires(PASS, attention(EAGER)) == PACKED


def test_a_branch_of_an_if_is_cleaned_too() -> None:
    assert fires(PASS, in_subgraph(attention(EAGER))) == {"If": 1} | {op: 2 * n for op, n in PACKED.items()}


def test_a_function_is_cleaned_like_a_graph() -> None:
    assert fires(PASS, in_function(attention(EAGER))) == PACKED | {"test.local:Body": 1}


def test_fixed_shapes_work_like_symbolic_ones() -> None:
    model = attention(EAGER, inputs=f"float[{BATCH},{SEQUENCE},{WIDTH}] x")

    assert fires(PASS, model) == PACKED


@pytest.mark.parametrize("masked", ["lowest", "infinity"])
def test_the_guard_goes_only_where_a_padding_mask_leaves_finite_rows(masked: str) -> None:
    body = f"mask = Where (keep, zero, {masked})\n{SDPA}"
    model = attention(body, inputs=f"float[batch,seq,{WIDTH}] x, bool[batch,1,1,seq] keep")
    after, record = run_pass(ir.from_proto(model), PASS)

    counts = fires(PASS, model)
    assert ("IsNaN" in counts) is (masked == "infinity")
    assert [r.reason for r in record.refusals] == (["the mask may leave an empty row"] if masked == "infinity" else [])
    assert "Mul" not in counts
    assert after is not None


def test_a_constant_causal_mask_leaves_no_empty_row() -> None:
    body = f"mask = Where (causal, zero, infinity)\n{SDPA}"

    assert "IsNaN" not in fires(PASS, attention(body, inputs=f"float[batch,{SEQUENCE},{WIDTH}] x"))


def test_a_constant_mask_with_an_empty_row_keeps_the_guard() -> None:
    empty = np.tril(np.ones((SEQUENCE, SEQUENCE), bool))
    empty[0] = False
    body = f"mask = Where (causal, zero, infinity)\n{SDPA}"

    assert "IsNaN" in fires(PASS, attention(body, inputs=f"float[batch,{SEQUENCE},{WIDTH}] x", causal=empty))


def test_the_guard_is_idle_without_a_mask() -> None:
    body = SDPA.replace("a = Add (s, mask)", "").replace("Softmax <axis = -1> (a)", "Softmax <axis = -1> (s)")

    assert "IsNaN" not in fires(PASS, attention(body))


def test_a_mask_of_zeros_and_the_lowest_number_is_finite() -> None:
    body = f"f = Cast <to = 1> (keep)\n d = Sub (one, f)\n mask = Mul (d, lowest)\n{SDPA}"
    model = attention(body, inputs=f"float[batch,seq,{WIDTH}] x, bool[batch,1,1,seq] keep", one=np.float32(1))

    assert "IsNaN" not in fires(PASS, model)


@pytest.mark.parametrize(
    "mask",
    [
        "d = Mul (lowest, two)\n mask = Expand (d, wide)",
        "f = Cast <to = 1> (count)\n d = Sub (one, f)\n mask = Mul (d, lowest)",
    ],
)
def test_a_mask_that_may_overflow_keeps_the_guard(mask: str) -> None:
    inputs = f"float[batch,seq,{WIDTH}] x, int64[batch,1,1,seq] count"
    more = {"one": np.float32(1), "two": np.float32(2), "wide": np.array([1, 1, 1, 1])}
    _, record = run_pass(ir.from_proto(attention(f"{mask}\n{SDPA}", inputs=inputs, **more)), PASS)

    assert "the mask may leave an empty row" in {refusal.reason for refusal in record.refusals}


def test_a_mask_from_outside_keeps_the_guard() -> None:
    model = attention(SDPA, inputs=f"float[batch,seq,{WIDTH}] x, float[batch,1,seq,seq] mask")

    assert "IsNaN" in fires(PASS, model)


LONG_K = """mk = MatMul (x, wk)
        lk = Add (mk, bk)
        rk = Reshape (lk, heads)
        k0 = Transpose <perm = [0, 2, 1, 3]> (rk)
        k1 = Reshape (k0, folded)
        k2 = Transpose <perm = [0, 2, 1]> (k1)
        k = Reshape (k2, unfolded)
    """


def test_the_long_way_round_of_k_is_composed() -> None:
    body = EAGER.replace(project("k", perm="0, 2, 3, 1"), LONG_K)
    shapes = {
        "folded": np.array([-1, SEQUENCE, DEPTH]),
        "unfolded": np.array([BATCH, HEADS, DEPTH, SEQUENCE]),
    }

    assert fires(PASS, attention(body, inputs=f"float[{BATCH},{SEQUENCE},{WIDTH}] x", **shapes)) == PACKED


def test_cross_attention_merges_keys_and_values_only() -> None:
    body = EAGER.replace("MatMul (x, wk)", "MatMul (memory, wk)").replace("MatMul (x, wv)", "MatMul (memory, wv)")
    model = attention(body, inputs=f"float[batch,seq,{WIDTH}] x, float[batch,keys,{WIDTH}] memory")

    counts = fires(PASS, model)
    assert counts["MatMul"] == 4
    assert counts["Split"] == 1


@pytest.mark.parametrize(("keys", "merged"), [(43690, True), (43691, False)])
def test_keys_and_values_of_a_long_memory_stay_two_products(keys: int, merged: bool) -> None:
    """A row of both is 96 bytes, two nodes are saved: 4 MiB are 43690.7 rows."""
    body = EAGER.replace("MatMul (x, wk)", "MatMul (memory, wk)").replace("MatMul (x, wv)", "MatMul (memory, wv)")
    model = attention(body, inputs=f"float[1,2,{WIDTH}] x, float[batch,{keys},{WIDTH}] memory")
    after, record = run_pass(ir.from_proto(model), PASS)

    refused = {refusal.reason for refusal in record.refusals}
    reason = "merging these projections of one input does not pay: 4.0 MiB or more would be copied apart again"
    assert any(text.startswith(reason) for text in refused) is not merged
    assert any(node.op_type == "Split" for node in after.graph) is merged


def test_two_layers_that_read_the_same_memory_are_not_merged_with_each_other() -> None:
    first = EAGER.replace("MatMul (x, wk)", "MatMul (memory, wk)").replace("MatMul (x, wv)", "MatMul (memory, wv)")
    names = ["mq", "lq", "rq", "q", "mk", "lk", "rk", "k", "mv", "lv", "rv", "v", "s", "z", "p", "c", "t", "y"]
    second = re.sub(rf"\b({'|'.join(names)}|w[kv])\b", r"\g<1>2", first).replace("(x, wq)", "(y, wq)")
    model = attention(
        first + "\n" + second,
        wk2=numbers()["wq"],
        wv2=numbers()["wk"],
        inputs=f"float[batch,seq,{WIDTH}] x, float[batch,keys,{WIDTH}] memory",
        outputs="float[a,b,c] y2",
    )

    counts = fires(PASS, model)
    assert counts["Split"] == 2
    assert counts["MatMul"] == 8


def two_layers(keys: object = 20, *, bias: bool = False) -> onnx.ModelProto:
    """Two layers with keys of one memory; the values come from elsewhere, so that nothing is merged with the keys."""
    names = ["mq", "lq", "rq", "q", "mk", "lk", "rk", "k", "mv", "lv", "rv", "v", "s", "z", "p", "c", "t", "y"]
    first = EAGER.replace(
        project("k", perm="0, 2, 3, 1"), project("k", "memory", perm="0, 2, 3, 1", bias=bias)
    ).replace("MatMul (x, wv)", "MatMul (other, wv)")
    second = re.sub(rf"\b({'|'.join(names)}|w[kv])\b", r"\g<1>2", first).replace("(x, wq)", "(y, wq)")
    shape = f"float[batch,{keys},{WIDTH}]"
    return attention(
        first + "\n" + second,
        wk2=numbers()["wv"],
        wv2=numbers()["wk"],
        inputs=f"float[batch,seq,{WIDTH}] x, {shape} memory, {shape} other",
        outputs="float[a,b,c] y2",
    )


def test_the_keys_of_one_memory_come_out_transposed() -> None:
    before = Counter(node.op_type for node in two_layers().graph.node)
    counts = fires(PASS, two_layers())

    assert counts == before - Counter(Mul=2, Transpose=1)  # two of the keys go, one of the memory comes


@pytest.mark.parametrize(("keys", "turned"), [(WIDTH - 1, 0), (WIDTH, 1), ("some", 0)])
def test_the_keys_are_turned_only_where_there_are_as_many_as_the_memory_is_wide(keys: object, turned: int) -> None:
    before = Counter(node.op_type for node in two_layers(keys).graph.node)

    assert before["Transpose"] - fires(PASS, two_layers(keys))["Transpose"] == turned


def test_keys_with_a_bias_are_not_turned() -> None:
    _, record = run_pass(ir.from_proto(two_layers(bias=True)), PASS)

    assert "the projection of the keys has a bias" in {refusal.reason for refusal in record.refusals}


def test_turned_keys_stay_as_they_are() -> None:
    once, _ = run_pass(ir.from_proto(two_layers()), PASS)
    _, again = run_pass(once, PASS)

    assert not again.changed


def test_a_projection_without_bias_is_merged_with_zeros() -> None:
    body = EAGER.replace(project("k", perm="0, 2, 3, 1"), project("k", perm="0, 2, 3, 1", bias=False))

    assert fires(PASS, attention(body)) == PACKED


def test_a_weight_that_something_else_reads_is_not_changed_in_place() -> None:
    model = attention(EAGER + "\n o = MatMul (x, wq)", outputs="float[a,b,c] y, float[d,e,f] o")

    assert fires(PASS, model)["MatMul"] == 4


def test_a_projection_that_is_a_graph_output_is_refused() -> None:
    model = attention(EAGER, outputs="float[a,b,c] y, float[d,e,f] lq, float[i,j,l] lk, float[m,n,o] lv")
    _, record = run_pass(ir.from_proto(model), PASS)

    assert "a projection is a graph output" in {refusal.reason for refusal in record.refusals}


def test_one_scale_of_a_computed_q_is_refused() -> None:
    body = """s = MatMul (q, k)
        z = Mul (s, scale)
        p = Softmax <axis = -1> (z)
        y = MatMul (p, v)"""
    shape = f"float[batch,{HEADS}"
    model = attention(
        body,
        inputs=f"{shape},queries,{DEPTH}] q, {shape},{DEPTH},keys] k, {shape},keys,{DEPTH}] v",
        outputs="float[a,b,c,d] y",
    )

    assert refuses(PASS, model) == {"the one scale is not next to a constant projection that only it reads"}


def test_two_scales_of_computed_operands_become_one() -> None:
    body = """qs = Mul (q, root)
        ks = Mul (root, k)
        s = MatMul (qs, ks)
        z = Div (s, scale)
        p = Softmax <axis = -1> (z)
        y = MatMul (p, v)"""
    shape = f"float[batch,{HEADS}"
    model = attention(
        body,
        inputs=f"{shape},queries,{DEPTH}] q, {shape},{DEPTH},keys] k, {shape},keys,{DEPTH}] v",
        outputs="float[a,b,c,d] y",
    )

    assert fires(PASS, model) == {"MatMul": 2, "Mul": 1, "Softmax": 1}


def test_a_softmax_that_is_no_attention_is_ignored() -> None:
    ignores(PASS, attention("l = MatMul (x, wq)\n y = Softmax <axis = -1> (l)"))


def test_a_packed_projection_hands_out_its_heads_at_once() -> None:
    packed = np.random.default_rng(1).normal(size=(WIDTH, 3 * WIDTH)).astype(np.float32)
    body = f"""m = MatMul (x, packed)
        lq, lk, lv = Split <axis = -1> (m, widths)
        rq = Reshape (lq, heads)
        q = Transpose <perm = [0, 2, 1, 3]> (rq)
        rk = Reshape (lk, heads)
        k = Transpose <perm = [0, 2, 3, 1]> (rk)
        rv = Reshape (lv, heads)
        v = Transpose <perm = [0, 2, 1, 3]> (rv)
        s = MatMul (q, k)
        z = Mul (s, scale)
        p = Softmax <axis = -1> (z)
        {CONTEXT}"""
    model = attention(body, packed=packed, widths=np.array([WIDTH] * 3))

    assert fires(PASS, model) == {"MatMul": 3, "Reshape": 2, "Softmax": 1, "Split": 1, "Transpose": 3}


def test_merged_projections_by_half_precision_gemms_keep_their_biases() -> None:
    made = {name: array.astype(np.float16) for name, array in numbers().items() if name[0] in "wb"}
    gemms = " ".join(
        f"l{name} = Gemm <transB = 1> (x, w{name}, b{name}) r{name} = Reshape (l{name}, heads) "
        f"{name} = Transpose <perm = [{perm}]> (r{name})"
        for name, perm in (("q", "0, 2, 1, 3"), ("k", "0, 2, 3, 1"), ("v", "0, 2, 1, 3"))
    )
    text = (
        f"{HEADER} g (float16[6,12] x) => (float16[6,12] y) {{ {gemms} s = MatMul (q, k) p = Softmax (s) {CONTEXT} }}"
    )
    model = make(text, **made, heads=np.array([1, 6, HEADS, DEPTH]), joined=np.array([6, WIDTH]))

    assert fires(PASS, model, tolerance=1e-2)["Gemm"] == 1
