from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.fuse_layernorm import FuseLayernorm
from pytest_modelcheck.pipeline import optimize, run_pass
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseLayernorm()

LAYER = """m = ReduceMean <axes = [-1]> (x)
           d = Sub (x, m)
           q = Pow (d, two)
           v = ReduceMean <axes = [-1]> (q)
           g = Add (v, epsilon)
           r = Sqrt (g)
           n = Div (d, r)
           s = Mul (n, scale)
           y = Add (s, bias)"""
LAYER_POSITIVE_AXIS = LAYER.replace("axes = [-1]", "axes = [2]")
LAYER_RECIPROCAL = LAYER.replace("Pow (d, two)", "Mul (d, d)").replace(
    "n = Div (d, r)", "i = Reciprocal (r)\n n = Mul (i, d)"
)
LAYER_NO_BIAS = LAYER.replace("s = Mul", "y = Mul").replace("y = Add (s, bias)", "")
LAYER_PLAIN = LAYER_NO_BIAS.replace("n = Div", "y = Div").replace("y = Mul (n, scale)", "")
RMS = """q = Pow (x, two)
         v = ReduceMean <keepdims = 1> (q, last)
         g = Add (v, epsilon)
         r = Sqrt (g)
         i = Reciprocal (r)
         n = Mul (x, i)
         y = Mul (scale, n)"""


def norm(body: str, *, opset: int = 17, x: str = "float[2,n,5]", outputs: str = "float[a,b,c] y", **new: Any) -> Any:
    draw = np.random.default_rng(0)
    values = {
        "two": np.float32(2.0).reshape(()),
        "epsilon": np.float32(1e-12).reshape(()),
        "scale": draw.normal(size=5).astype(np.float32),
        "bias": draw.normal(size=5).astype(np.float32),
        "last": np.array([-1]),
    } | new
    used = {name: value for name, value in values.items() if f"{name})" in body or f"({name}" in body}
    return make(f'<ir_version: 10, opset_import: ["" : {opset}]> g ({x} x) => ({outputs}) {{ {body} }}', **used)


@pytest.mark.parametrize("body", [LAYER, LAYER_POSITIVE_AXIS, LAYER_RECIPROCAL, LAYER_NO_BIAS, LAYER_PLAIN])
def test_every_form_of_layer_normalization_becomes_one_node(body: str) -> None:
    assert fires(PASS, norm(body)) == {"LayerNormalization": 1}


def test_a_tiny_epsilon_is_kept() -> None:
    # 1e-12 disappears in onnxscript 0.7.2, whose pattern constants have an absolute tolerance of 1e-8.
    from pytest_modelcheck.pipeline import optimize

    fused = optimize(norm(LAYER), passes=[PASS])

    (node,) = fused.graph.node
    assert next(a.f for a in node.attribute if a.name == "epsilon") == pytest.approx(1e-12, rel=1e-6)


def test_a_branch_of_an_if_is_fused_too() -> None:
    assert fires(PASS, in_subgraph(norm(LAYER))) == {"If": 1, "LayerNormalization": 2}


def test_rms_normalization_is_fused_from_opset_23_on() -> None:
    assert fires(PASS, norm(RMS, opset=23)) == {"RMSNormalization": 1}


def test_below_opset_17_layer_normalization_is_refused() -> None:
    assert refuses(PASS, norm(LAYER, opset=14)) == {"LayerNormalization needs opset 17, the model imports 14"}


def test_target_onnxruntime_raises_the_opset_to_what_each_of_them_reads() -> None:
    assert fires(PASS, norm(LAYER, opset=14), target="onnxruntime") == {"LayerNormalization": 1}
    assert optimize(norm(LAYER, opset=14), target="onnxruntime").opset_import[0].version == 17
    assert fires(PASS, norm(RMS, opset=18), target="onnxruntime") == {"RMSNormalization": 1}
    assert optimize(norm(RMS, opset=18), target="onnxruntime").opset_import[0].version == 23


def test_a_residual_sum_stays_beside_the_normalization_which_is_faster_so() -> None:
    body = "p = Relu (x)\n u = Add (p, x)\n" + LAYER.replace("(x", "(u")
    assert fires(PASS, norm(body), target="onnxruntime") == {"Add": 1, "LayerNormalization": 1, "Relu": 1}


@pytest.mark.parametrize("body", [LAYER, RMS.replace("<keepdims = 1> (q, last)", "<axes = [-1]> (q)")])
def test_target_opset23_raises_the_opset(body: str) -> None:
    counts = fires(PASS, norm(body, opset=14), target="opset23")

    assert sum(counts.values()) == 1


def test_below_opset_23_rms_normalization_is_refused() -> None:
    assert refuses(PASS, norm(RMS, opset=22)) == {"RMSNormalization needs opset 23, the model imports 22"}


def test_inside_a_function_type_and_shape_are_those_of_its_call() -> None:
    assert fires(PASS, in_function(norm(LAYER))) == {"LayerNormalization": 1, "test.local:Body": 1}


def test_an_unknown_width_is_refused() -> None:
    assert refuses(PASS, norm(LAYER, x="float[2,n,k]")) == {"the normalized dimensions are not known"}


def test_a_mean_that_something_else_reads_stays_beside_the_operator() -> None:
    model = norm(LAYER + "\n z = Neg (m)", outputs="float[a,b,c] y, float[a,b,c] z")

    assert fires(PASS, model) == {"LayerNormalization": 1, "Neg": 1, "ReduceMean": 1}


@pytest.mark.parametrize(
    ("more", "outputs"),
    [("z = Neg (d) w = Neg (r)", "float[a,b,c] z, float[d,e,f] w"), ("", "float[a,b,c] d, float[d,e,f] r")],
)
def test_where_only_the_result_would_go_nothing_is_fused_beside_it(more: str, outputs: str) -> None:
    model = norm(LAYER_PLAIN + more, outputs=f"float[g,h,i] y, {outputs}")

    assert refuses(PASS, model) == {"a value inside the normalization is read by something else"}


def test_where_two_nodes_go_the_operator_is_put_beside_the_rest() -> None:
    body = LAYER_PLAIN + "\n z = Neg (d) w = Neg (g)"
    model = norm(body, outputs="float[g,h,i] y, float[a,b,c] z, float[d,e,f] w")

    assert fires(PASS, model) == {"Add": 1, "LayerNormalization": 1, "Neg": 2, "Pow": 1, "ReduceMean": 2, "Sub": 1}


def test_an_opset_that_has_the_operator_is_not_raised() -> None:
    after, _ = run_pass(ir.from_proto(norm(LAYER)), PASS, "opset23")

    assert (after.opset_imports[""], [node.op_type for node in after.graph]) == (17, ["LayerNormalization"])


def test_of_two_results_that_are_read_the_inner_one_is_the_operator() -> None:
    model = norm(LAYER + "\n z = Neg (n)", outputs="float[a,b,c] y, float[a,b,c] z")

    assert fires(PASS, model) == {"Add": 1, "LayerNormalization": 1, "Mul": 1, "Neg": 1}


@pytest.mark.parametrize(
    "body",
    [
        LAYER.replace("axes = [-1]", "axes = [1]"),
        LAYER.replace("axes = [-1]", "axes = [-1], keepdims = 0").replace("Sub (x, m)", "Sub (x, two)"),
        LAYER.replace("Pow (d, two)", "Pow (d, epsilon)"),
    ],
)
def test_other_formulas_are_no_layer_normalization(body: str) -> None:
    if "keepdims" in body:
        body = body.replace("Sub (x, two)", "Sub (x, two)").replace("Div (d, r)", "Mul (d, two)")
    ignores(PASS, norm(body))


def test_a_scale_of_another_shape_stays_a_multiplication() -> None:
    assert fires(PASS, norm(LAYER, scale=np.full((1,), 2, np.float32))) == {
        "Add": 1,
        "LayerNormalization": 1,
        "Mul": 1,
    }


def test_a_variance_of_another_tensor_is_no_layer_normalization() -> None:
    ignores(PASS, norm(LAYER.replace("n = Div (d, r)", "n = Div (x, r)")))


CASES = (
    RuleCase(
        pass_=PASS,
        rule="LayerNormalization",
        fires=norm(LAYER),
        counts={"LayerNormalization": 1},
        refused=norm(LAYER, x="float[2,n,k]"),
        reason="the normalized dimensions are not known",
    ),
    RuleCase(
        pass_=PASS,
        rule="RMSNormalization",
        fires=norm(RMS, opset=23),
        counts={"RMSNormalization": 1},
        refused=norm(RMS, opset=22),
        reason="RMSNormalization needs opset 23, the model imports 22",
    ),
)
