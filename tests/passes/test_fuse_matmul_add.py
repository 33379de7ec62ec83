from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.fuse_matmul_add import FuseMatmulAdd
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseMatmulAdd()

NET_LOSS = "a flattened view would need as many Reshape nodes as it saves"


def model(
    body: str, *, x: str = "float[n,6] x", y: str = "float[a,b] y", opset: int = 20, **more: Any
) -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    shapes = {"w": (6, 6), "v": (6, 6), "u": (6, 6), "b": (6,), "c": (6,), "d": (6,), "gain": (6,), "offset": (6,)}
    values = {name: (draw.normal(size=shape) / 2).astype(np.float32) for name, shape in shapes.items()} | more
    words = set(re.findall(r"\w+", body))
    used = {name: value for name, value in values.items() if name in words}
    return make(f'<ir_version: 10, opset_import: ["" : {opset}]> g ({x}) => ({y}) {{ {body} }}', **used)


LINEAR = "m = MatMul (x, w)\n y = Add (m, b)"
LAYER = """m1 = MatMul (x, w)
    l1 = Add (m1, b)
    g1 = Gelu (l1)
    m2 = MatMul (g1, v)
    l2 = Add (c, m2)
    r = Add (l2, x)
    n = LayerNormalization <axis = 2> (r, gain, offset)
    m3 = MatMul (n, u)
    l3 = Add (m3, d)
    m4 = MatMul (l3, w)
    l4 = Add (m4, b)
    m5 = MatMul (l4, v)
    l5 = Add (m5, c)
    y = Relu (l5)"""
ACTIVATIONS = {"x": "float[batch,seq,6] x", "y": "float[a,b,c] y"}


@pytest.mark.parametrize("body", [LINEAR, "m = MatMul (x, w)\n y = Add (b, m)"])
def test_a_product_of_matrices_and_a_bias_become_gemm(body: str) -> None:
    assert fires(PASS, model(body)) == {"Gemm": 1}


def test_an_addition_behind_a_gemm_without_one_becomes_its_addend() -> None:
    body = "m = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (x, w)\n y = Add (b, m)"
    assert fires(PASS, model(body)) == {"Gemm": 1}
    ignores(PASS, model("m = Gemm (x, w, c)\n y = Add (b, m)"))


def test_a_residual_of_the_same_shape_is_added_by_gemm() -> None:
    assert fires(PASS, model("m = MatMul (x, w)\n y = Add (x, m)")) == {"Gemm": 1}


def test_a_transposed_weight_is_read_by_gemm_as_it_is() -> None:
    assert fires(PASS, model("t = Transpose <perm = [1, 0]> (w)\n m = MatMul (x, t)\n y = Add (m, b)")) == {"Gemm": 1}


def test_a_transpose_that_moves_nothing_stays_outside() -> None:
    body = "t = Transpose <perm = [0, 1]> (w)\n m = MatMul (x, t)\n y = Add (m, b)"

    assert fires(PASS, model(body)) == {"Gemm": 1, "Transpose": 1}


def test_a_branch_of_an_if_is_fused_too() -> None:
    assert fires(PASS, in_subgraph(model(LINEAR))) == {"Gemm": 2, "If": 1}


def test_a_product_that_something_else_reads_stays() -> None:
    after = model("m = MatMul (x, w)\n y = Add (m, b)\n z = Relu (m)\n l = MatMul (z, v)\n q = Add (l, b)")
    after.graph.output.append(onnx.helper.make_tensor_value_info("q", onnx.TensorProto.FLOAT, ["e", "f"]))

    assert fires(PASS, after) == {"Add": 1, "Gemm": 1, "MatMul": 1, "Relu": 1}


def test_an_addend_that_makes_the_result_larger_is_refused() -> None:
    batched = model(LINEAR, y="float[a,b,c] y", b=np.ones((3, 1, 6), np.float32))

    assert refuses(PASS, batched) == {"the addend is not proven to broadcast to the product"}


def test_an_addend_of_another_symbolic_size_is_refused() -> None:
    other = model("m = MatMul (x, w)\n y = Add (m, z)", x="float[n,6] x, float[k,6] z")

    assert refuses(PASS, other) == {"the addend is not proven to broadcast to the product"}


def test_integers_are_refused() -> None:
    whole = np.ones((6, 6), np.int64)
    integers = model(LINEAR, x="int64[n,6] x", y="int64[a,b] y", w=whole, b=whole[0])

    assert refuses(PASS, integers) == {"the element type is not float or double"}


@pytest.mark.parametrize("x", ["float[batch,seq,6] x", "float[2,seq,6] x", "float[2,4,6] x", "float[2,p,q,6] x"])
def test_the_view_is_carried_through_a_layer(x: str) -> None:
    y = "float[a,b,c,d] y" if "p,q" in x else "float[a,b,c] y"

    counts = fires(PASS, model(LAYER.replace("axis = 2", "axis = 3") if "p,q" in x else LAYER, x=x, y=y))

    assert counts["Gemm"] == 5
    assert counts["Reshape"] == 2
    assert "MatMul" not in counts


def test_a_shape_that_is_the_input_s_own_is_read_from_it() -> None:
    body = LAYER.replace("n = LayerNormalization <axis = 2> (r, gain, offset)", "n = Tanh (r)").replace("Gelu", "Erf")
    deeper = body.replace("y = Relu (l5)", "m6 = MatMul (l5, u)\n y = Add (m6, c)")

    counts = fires(PASS, model(deeper, opset=13, **ACTIVATIONS))
    assert counts["Shape"] == 1
    assert not {"Slice", "Concat"} & counts.keys()


def test_a_layer_in_a_branch_of_an_if_is_flattened() -> None:
    assert fires(PASS, in_subgraph(model(LAYER, x="float[2,4,6] x", y="float[a,b,c] y")))["Gemm"] == 10


def test_one_linear_layer_alone_is_refused() -> None:
    assert refuses(PASS, model(LINEAR, **ACTIVATIONS)) == {NET_LOSS}


def test_a_function_is_fused_with_the_types_that_its_call_gives_it() -> None:
    assert fires(PASS, in_function(model(LINEAR))) == {"Gemm": 1, "test.local:Body": 1}


def test_values_in_the_middle_that_are_outputs_keep_their_shape() -> None:
    given = model(LAYER, x="float[2,seq,6] x", y="float[a,b,c] y, float[d,e,f] g1")

    counts = fires(PASS, given)

    assert counts["Gemm"] == 5
    assert counts["Reshape"] == 3


def test_a_reduction_over_the_sequence_is_outside_the_view() -> None:
    body = LAYER.replace("y = Relu (l5)", "y = ReduceMean <keepdims = 0> (l5, first)")

    counts = fires(PASS, model(body, x="float[2,seq,6] x", first=np.array([1])))

    assert (counts["Gemm"], counts["Reshape"], counts["ReduceMean"]) == (5, 2, 1)


def test_reductions_along_the_width_are_inside_the_view() -> None:
    mean = "a = ReduceMean (r, last)\n n = Sub (r, a)"
    body = LAYER.replace("n = LayerNormalization <axis = 2> (r, gain, offset)", mean)

    counts = fires(PASS, model(body, last=np.array([2]), **ACTIVATIONS))

    assert (counts["Gemm"], counts["Reshape"]) == (5, 2)


def test_reshapes_around_existing_gemms_disappear() -> None:
    body = """r1 = Reshape (x, flat)
        g1 = Gemm (r1, w, b)
        u1 = Reshape (g1, full)
        t = Tanh (u1)
        r2 = Reshape (t, flat)
        g2 = Gemm (r2, v, c)
        u2 = Reshape (g2, full)
        y = Add (u2, x)"""
    given = model(body, x="float[2,4,6] x", y="float[a,b,c] y", flat=np.array([-1, 6]), full=np.array([2, 4, 6]))

    assert fires(PASS, given) == {"Add": 1, "Gemm": 2, "Reshape": 2, "Tanh": 1}


def test_heads_behind_a_layer_take_the_view_by_their_own_reshape() -> None:
    body = LAYER.replace("y = Relu (l5)", "h = Reshape (l5, heads)\n y = Transpose <perm = [0, 2, 1, 3]> (h)")

    counts = fires(PASS, model(body, x="float[batch,seq,6] x", y="float[a,b,c,d] y", heads=np.array([0, 0, 2, 3])))

    assert (counts["Gemm"], counts["Reshape"]) == (5, 2)


CASES = (
    RuleCase(
        pass_=PASS,
        rule="matrices",
        fires=model(LINEAR),
        counts={"Gemm": 1},
        refused=model(LINEAR, y="float[a,b,c] y", b=np.ones((3, 1, 6), np.float32)),
        reason="the addend is not proven to broadcast to the product",
    ),
    RuleCase(
        pass_=PASS,
        rule="view",
        fires=model(LAYER, **ACTIVATIONS),
        refused=model(LINEAR, **ACTIVATIONS),
        reason=NET_LOSS,
    ),
    RuleCase(
        pass_=PASS,
        rule="tidy",
        fires=model(
            LAYER.replace("r = Add (l2, x)", "r = Add (l2, k)"),
            k=np.linspace(-1, 1, 48, dtype=np.float32).reshape(2, 4, 6),
            x="float[2,4,6] x",
            y="float[a,b,c] y",
        ),
        refused=None,
        reason="",
    ),
)
