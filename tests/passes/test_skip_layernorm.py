"""Residual sums that become part of a normalization, for onnxruntime alone."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pytest_modelcheck.passes.fuse_layernorm import FuseLayernorm
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseLayernorm()
POST = "a = Relu (x) s = Add (a, z) y = LayerNormalization <axis = -1, epsilon = 0.01> (s, scale, bias)"
PRE = POST.replace("y = ", "n = ") + " y = Sub (s, n)"
FUSED = "com.microsoft:SkipLayerNormalization"


def norm(body: str = POST, *, x: str = "float[N,4,6]", z: str | None = None, outputs: str = "float[a,b,c] y") -> Any:
    draw = np.random.default_rng(0)
    dtype = np.float64 if "double" in x else np.float32
    numbers = {"two": dtype(2), "tiny": dtype(0.01)}
    weights: dict[str, Any] = {name: number for name, number in numbers.items() if re.search(rf"\b{name}\b", body)}
    weights |= {
        name: draw.normal(size=6).astype(dtype) for name in ("scale", "bias") if re.search(rf"\b{name}\b", body)
    }
    header = f'<ir_version: 10, opset_import: ["" : 17]> g ({x} x, {z or x} z) => ({outputs}) '
    return make(header + "{" + body + "}", **weights)


@pytest.mark.parametrize("body", [POST, POST.replace("(a, z)", "(z, a)"), POST.replace(", bias)", ")")])
def test_a_sum_that_is_normalized_goes_into_the_operator(body: str) -> None:
    assert fires(PASS, norm(body), target="onnxruntime") == {"Relu": 1, FUSED: 1}


RMS = (
    "a = Relu (x) s = Add (a, z) p = Pow (s, two) v = ReduceMean <axes = [-1]> (p) e = Add (v, tiny) r = Sqrt (e) "
    "q = Div (s, r) y = Mul (q, scale)"
)
PRE_RMS = RMS.replace("y = ", "n = ") + " y = Sub (s, n)"
FUSED_RMS = "com.microsoft:SkipSimplifiedLayerNormalization"


@pytest.mark.parametrize(
    ("body", "outputs", "left"),
    [
        (RMS, "float[a,b,c] y", {"Relu": 1}),
        (RMS.replace("y = Mul (q, scale)", "y = Abs (q)"), "float[a,b,c] y", {"Relu": 1, "Abs": 1}),
        (PRE_RMS, "float[a,b,c] y", {"Relu": 1, "Sub": 1}),
        (RMS, "float[a,b,c] y, float[N,4,6] s", {"Relu": 1}),
    ],
)
def test_at_any_opset_a_sum_goes_into_an_rms_normalization(body: str, outputs: str, left: dict[str, int]) -> None:
    assert fires(PASS, norm(body, outputs=outputs), target="onnxruntime") == {**left, FUSED_RMS: 1}
    assert fires(PASS, in_subgraph(norm(body, outputs=outputs)), target="onnxruntime")[FUSED_RMS] == 2
    made = optimize(norm(body, outputs=outputs), passes=[PASS], target="onnxruntime")
    assert {(i.domain, i.version) for i in made.opset_import} == {("", 17), ("com.microsoft", 1)}


def test_an_rms_normalization_of_no_sum_raises_the_opset() -> None:
    made = norm(RMS.replace("s = Add (a, z)", "s = Exp (a) t = Neg (z)"), outputs="float[a,b,c] y, float[d,e,f] t")
    assert fires(PASS, made, target="onnxruntime") == {"Relu": 1, "Exp": 1, "Neg": 1, "RMSNormalization": 1}
    assert optimize(made, passes=[PASS], target="onnxruntime").opset_import[0].version == 23


def test_two_axes_are_right_too() -> None:
    made = norm(x="float[N,6]", outputs="float[a,b] y")
    assert fires(PASS, made, target="onnxruntime") == {"Relu": 1, FUSED: 1}


def test_a_sum_that_is_read_elsewhere_is_an_output_of_the_operator() -> None:
    assert fires(PASS, norm(PRE), target="onnxruntime") == {"Relu": 1, "Sub": 1, FUSED: 1}


def test_a_sum_that_is_a_graph_output_keeps_its_name() -> None:
    made = norm(outputs="float[a,b,c] y, float[d,e,f] s")
    assert fires(PASS, made, target="onnxruntime") == {"Relu": 1, FUSED: 1}


@pytest.mark.parametrize("place", [in_subgraph, in_function])
def test_it_fires_inside_branches_and_functions(place: Any) -> None:
    assert fires(PASS, place(norm(PRE)), target="onnxruntime")[FUSED] >= 1


def test_no_other_target_has_it() -> None:
    ignores(PASS, norm())
    ignores(PASS, norm(), target="opset23")


def test_a_bias_is_no_residual() -> None:
    body = POST.replace("(a, z)", "(a, bias)").replace("scale, bias", "scale")
    ignores(PASS, norm(body), target="onnxruntime")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (norm(x="double[N,4,6]", outputs="double[a,b,c] y"), "the sum is not known to be float32"),
        (norm(z="float[1,4,6]"), "what is added is not known to have one shape"),
        (norm(z="float[M,4,6]"), "what is added is not known to have one shape"),
        (
            norm(x="float[N,2,3,6]", outputs="float[a,b,c,d] y"),
            "SkipLayerNormalization takes two or three axes, and normalizes the last one",
        ),
        (
            norm(POST.replace("-1", "1").replace(", scale, bias", ", a"), x="float[2,4,6]"),
            "SkipLayerNormalization takes two or three axes, and normalizes the last one",
        ),
    ],
)
def test_what_the_operator_cannot_compute_is_refused(made: Any, reason: str) -> None:
    assert refuses(PASS, made, target="onnxruntime") == {reason}


def test_a_scale_that_is_computed_is_refused() -> None:
    body = "g = Exp (scale)" + POST.replace("(s, scale, bias)", "(s, g, bias)")
    reason = "scale and bias are not constant, or the mean is an output"
    assert refuses(PASS, norm(body), target="onnxruntime") == {reason}


CASES = (
    RuleCase(
        pass_=PASS,
        rule="SkipLayerNormalization",
        fires=norm(),
        counts={"Relu": 1, FUSED: 1},
        refused=norm(z="float[1,4,6]"),
        reason="what is added is not known to have one shape",
        target="onnxruntime",
    ),
)
