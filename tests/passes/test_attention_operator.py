from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.cleanup_attention import CleanupAttention
from pytest_modelcheck.pipeline import optimize, run_pass
from tests.passes.fusing_checks import fires, in_function, in_subgraph, outputs
from tests.passes.rule_cases import RuleCase
from tests.passes.test_cleanup_attention import DEPTH, EAGER, HEADS, SDPA, SEQUENCE, WIDTH, attention

PASS = CleanupAttention()
MULTI_HEAD = "com.microsoft:MultiHeadAttention"
X = f"float[batch,seq,{WIDTH}] x"
MASKED = EAGER.replace("p = Softmax <axis = -1> (z)", "a = Add (z, mask)\n p = Softmax <axis = -1> (a)")


def reasons(model: onnx.ModelProto, target: Any) -> set[str]:
    _, record = run_pass(ir.from_proto(model), PASS, target)
    return {refusal.reason for refusal in record.refusals}


@pytest.mark.parametrize(("target", "operator"), [("opset23", "Attention"), ("onnxruntime", MULTI_HEAD)])
def test_a_whole_attention_becomes_one_operator(target: Any, operator: str) -> None:
    assert fires(PASS, attention(EAGER), target=target) == {"Add": 1, "MatMul": 1, "Split": 1, operator: 1}


@pytest.mark.parametrize(("target", "operator"), [("opset23", "Attention"), ("onnxruntime", MULTI_HEAD)])
def test_a_full_mask_becomes_its_mask(target: Any, operator: str) -> None:
    body = f"mask = Where (keep, zero, lowest)\n{MASKED}"
    model = attention(body, inputs=f"{X}, bool[batch,1,seq,seq] keep")

    counts = fires(PASS, model, target=target)
    assert (counts[operator], counts["Where"]) == (1, 1)


def test_a_branch_of_an_if_gets_the_operator_too() -> None:
    assert fires(PASS, in_subgraph(attention(EAGER)), target="opset23")["Attention"] == 2


def test_inside_a_function_the_shapes_are_those_of_its_call() -> None:
    assert fires(PASS, in_function(attention(EAGER)), target="opset23")["Attention"] == 1


def test_the_opset_is_raised_where_every_other_node_keeps_its_meaning() -> None:
    optimized = optimize(attention(EAGER), passes=[PASS], target="opset23")

    assert [(i.domain, i.version) for i in optimized.opset_import] == [("", 23)]


def test_the_opset_stays_where_another_node_would_change() -> None:
    halves = "o = Reshape (t, joined)\n one, two = Split <axis = 2> (o)\n y = Concat <axis = 2> (two, one)"
    model = attention(EAGER.replace("y = Reshape (t, joined)", halves), opset=17)

    assert "opset 23 would change Split: its semantics differ there" in reasons(model, "opset23")


def test_a_row_masked_by_the_lowest_number_stays_a_mean() -> None:
    # onnxruntime 1.31 takes the lowest number for minus infinity and gives zeros.
    body = f"mask = Where (keep, zero, lowest)\n{MASKED}"
    model = attention(body, inputs=f"float[1,{SEQUENCE},{WIDTH}] x, bool[1,1,{SEQUENCE},{SEQUENCE}] keep")
    keep = np.ones((1, 1, SEQUENCE, SEQUENCE), bool)
    keep[..., 2, :] = False
    given = {"x": np.random.default_rng(0).normal(size=(1, SEQUENCE, WIDTH)).astype(np.float32), "keep": keep}

    optimized = optimize(model, passes=[PASS], target="opset23")

    expected, found = outputs(model, given)["y"], outputs(optimized, given)["y"]
    assert np.abs(expected[0, 2]).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_mask_from_outside_may_hold_the_lowest_number_and_is_refused() -> None:
    model = attention(SDPA, inputs=f"{X}, float[batch,1,seq,seq] mask")

    assert "the mask may hold the lowest number, which onnxruntime's Attention takes for minus infinity" in reasons(
        model, "opset23"
    )


def test_a_mask_without_a_query_axis_is_refused() -> None:
    body = f"mask = Where (keep, zero, lowest)\n{MASKED}"
    model = attention(body, inputs=f"{X}, bool[batch,1,1,seq] keep")

    for target in ("opset23", "onnxruntime"):
        assert "the last two axes of the mask are not proven to be queries and keys" in reasons(model, target)


def test_empty_rows_of_a_guarded_mask_stay_zero() -> None:
    body = f"mask = Where (keep, zero, infinity)\n{SDPA}"
    model = attention(body, inputs=f"float[1,{SEQUENCE},{WIDTH}] x, bool[1,1,{SEQUENCE},{SEQUENCE}] keep")
    keep = np.ones((1, 1, SEQUENCE, SEQUENCE), bool)
    keep[..., 2, :] = False
    given = {"x": np.random.default_rng(0).normal(size=(1, SEQUENCE, WIDTH)).astype(np.float32), "keep": keep}

    optimized = optimize(model, passes=[PASS], target="opset23")

    assert "Attention" in {node.op_type for node in optimized.graph.node}
    expected, found = outputs(model, given)["y"], outputs(optimized, given)["y"]
    assert np.all(expected[0, 2] == 0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_empty_rows_without_a_guard_are_refused_because_nan_would_become_zero() -> None:
    body = f"mask = Where (keep, zero, infinity)\n{MASKED}"
    model = attention(body, inputs=f"{X}, bool[batch,1,seq,seq] keep")

    assert "the mask may leave an empty row, whose NaN would become zero" in reasons(model, "opset23")


GUARDED = attention(f"mask = Where (keep, zero, infinity)\n{SDPA}", inputs=f"{X}, bool[batch,1,seq,seq] keep", opset=17)


def test_what_the_contrib_operator_does_not_take_becomes_the_standard_one_for_onnxruntime() -> None:
    """The guard must stay, and MultiHeadAttention has none."""
    assert fires(PASS, GUARDED, target="onnxruntime") == fires(PASS, GUARDED, target="opset23")
    assert optimize(GUARDED, passes=[PASS], target="onnxruntime").opset_import[0].version == 23
    assert fires(PASS, in_subgraph(GUARDED), target="onnxruntime")["Attention"] == 2


def test_for_onnxruntime_the_opset_stays_where_its_own_operator_does() -> None:
    optimized = optimize(attention(EAGER, opset=17), passes=[PASS], target="onnxruntime")

    assert {(i.domain, i.version) for i in optimized.opset_import} == {("", 17), ("com.microsoft", 1)}


HEADS_FIRST = """s = MatMul (q, k)
    z = Mul (s, scale)
    p = Softmax <axis = -1> (z)
    y = MatMul (p, v)"""
SHAPE = f"float[batch,{HEADS}"
HEADS_INPUTS = f"{SHAPE},queries,{DEPTH}] q, {SHAPE},{DEPTH},keys] k, {SHAPE},keys,{DEPTH}] v"


@pytest.mark.parametrize("target", ["opset23", "onnxruntime"])
def test_operands_that_have_their_heads_already_are_taken_with_them(target: Any) -> None:
    model = attention(HEADS_FIRST, inputs=HEADS_INPUTS, outputs="float[a,b,c,d] y")

    assert fires(PASS, model, target=target) == {"Attention": 1, "Transpose": 1}


def test_a_negative_scale_is_refused() -> None:
    model = attention(EAGER, scale=np.float32(-0.5))

    assert "the scale is not positive" in reasons(model, "opset23")


def operator(name: str, **shared: Any) -> RuleCase:
    return RuleCase(pass_=PASS, rule="operator", variant=name, **shared)


CASES = (
    operator(
        "Attention",
        fires=attention(f"mask = Where (keep, zero, lowest)\n{MASKED}", inputs=f"{X}, bool[batch,1,seq,seq] keep"),
        counts={"Add": 1, "Attention": 1, "MatMul": 1, "Split": 1, "Where": 1},
        target="opset23",
        refused=attention(SDPA, inputs=f"{X}, float[batch,1,seq,seq] mask"),
        reason="the mask may hold the lowest number, which onnxruntime's Attention takes for minus infinity",
    ),
    operator(
        "MultiHeadAttention",
        fires=attention(EAGER),
        counts={"Add": 1, "MatMul": 1, "Split": 1, MULTI_HEAD: 1},
        target="onnxruntime",
        refused=attention(EAGER, scale=np.float32(-0.5)),
        reason="the scale is not positive",
    ),
)
