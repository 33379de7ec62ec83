from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_modelcheck.passes.fuse_conv_relu import FuseConvRelu
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseConvRelu()
FUSED = "com.microsoft:FusedConv"


def conv_then(activation: str, *, extra: str = "", outputs: str = "float[n,c,h,k] y", opset: int = 17) -> Any:
    draw = np.random.default_rng(0)
    return make(
        f"""<ir_version: 10, opset_import: ["" : {opset}]>
        g (float[2,3,8,8] x) => ({outputs}) {{
          p = Conv <pads = [1, 1, 1, 1]> (x, w, b)
          y = {activation}
          {extra}
        }}""",
        w=draw.normal(size=(4, 3, 3, 3)).astype(np.float32),
        b=draw.normal(size=4).astype(np.float32),
        low=np.float32(-0.5).reshape(()),
        high=np.float32(0.75).reshape(()),
    )


@pytest.mark.parametrize(
    "activation",
    [
        "Relu (p)",
        "LeakyRelu <alpha = 0.3> (p)",
        "Clip (p, low, high)",
        "Clip (p, low)",
        "Clip (p, , high)",
        "Sigmoid (p)",
        "Tanh (p)",
        "HardSigmoid <alpha = 0.3, beta = 0.4> (p)",
    ],
)
def test_an_activation_becomes_part_of_the_conv_for_onnxruntime(activation: str) -> None:
    assert fires(PASS, conv_then(activation), target="onnxruntime") == {FUSED: 1}


def test_a_branch_of_an_if_is_fused_too() -> None:
    assert fires(PASS, in_subgraph(conv_then("Relu (p)")), target="onnxruntime") == {FUSED: 2, "If": 1}


def test_inside_a_function_the_element_type_is_that_of_its_call() -> None:
    counts = fires(PASS, in_function(conv_then("Relu (p)")), target="onnxruntime")

    assert counts == {"com.microsoft:FusedConv": 1, "test.local:Body": 1}


@pytest.mark.parametrize("target", ["portable", "opset23"])
def test_standard_targets_are_refused_because_no_operator_exists(target: Any) -> None:
    reason = "no standard operator combines a Conv with an activation"

    assert refuses(PASS, conv_then("Relu (p)"), target=target) == {reason}


def test_a_conv_that_something_else_reads_is_refused() -> None:
    model = conv_then("Relu (p)", extra="z = Tanh (y)\n q = Add (p, z)", outputs="float[n,c,h,k] q")

    assert refuses(PASS, model, target="onnxruntime") == {"the Conv output is used 2 times"}


def test_a_conv_that_is_a_graph_output_is_refused() -> None:
    model = conv_then("Relu (p)", outputs="float[n,c,h,k] y, float[n,c,h,k] p")

    assert refuses(PASS, model, target="onnxruntime") == {"the Conv output is a graph output"}


def test_clip_bounds_that_are_computed_are_refused() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x, float low) => (float[n,c,h,k] y) {
          p = Conv (x, w)
          y = Clip (p, low)
        }""",
        w=np.ones((4, 3, 3, 3), np.float32),
    )

    assert refuses(PASS, model, target="onnxruntime") == {"the Clip bounds are not constants"}


def gemm_then(activation: str, *, outputs: str = "float[n,4] y", opset: int = 17, gemm: str = "Gemm (x, w, b)") -> Any:
    draw = np.random.default_rng(0)
    return make(
        f"""<ir_version: 10, opset_import: ["" : {opset}]>
        g (float[n,3] x) => ({outputs}) {{ p = {gemm} y = {activation} }}""",
        w=draw.normal(size=(3, 4)).astype(np.float32),
        **({"b": draw.normal(size=4).astype(np.float32)} if "b)" in gemm else {}),
    )


@pytest.mark.parametrize(
    "activation",
    [
        "Relu (p)",
        "LeakyRelu <alpha = 0.3> (p)",
        "Sigmoid (p)",
        "Tanh (p)",
        "HardSigmoid <alpha = 0.3> (p)",
        "Elu <alpha = 0.5> (p)",
        "Selu (p)",
        "Softplus (p)",
        "Softsign (p)",
        "ThresholdedRelu <alpha = 0.25> (p)",
    ],
)
def test_an_activation_becomes_part_of_the_gemm_for_onnxruntime(activation: str) -> None:
    assert fires(PASS, gemm_then(activation), target="onnxruntime") == {"com.microsoft:FusedGemm": 1}
    ignores(PASS, gemm_then(activation))


def test_a_gemm_keeps_what_it_does_besides() -> None:
    scaled = gemm_then("Relu (p)", gemm="Gemm <alpha = 0.5> (x, w)")
    assert fires(PASS, in_subgraph(scaled), target="onnxruntime") == {"com.microsoft:FusedGemm": 2, "If": 1}


def test_a_gemm_that_broadcasts_by_an_attribute_is_refused() -> None:
    reason = "below opset 7 a Gemm broadcasts its bias only where an attribute says so"
    model = gemm_then("Relu (p)", opset=6, gemm="Gemm <broadcast = 1> (x, w, b)")
    assert refuses(PASS, model, target="onnxruntime") == {reason}


CASES = (
    *tuple(
        RuleCase(
            pass_=PASS,
            rule=activation.split()[0],
            fires=conv_then(activation),
            counts={FUSED: 1},
            target="onnxruntime",
            refused=conv_then(activation),
            refused_target="portable",
            reason="no standard operator combines a Conv with an activation",
        )
        for activation in (
            "Relu (p)",
            "LeakyRelu <alpha = 0.3> (p)",
            "Clip (p, low, high)",
            "Sigmoid (p)",
            "Tanh (p)",
            "HardSigmoid <alpha = 0.3, beta = 0.4> (p)",
        )
    ),
    RuleCase(
        pass_=PASS,
        rule="Gemm",
        fires=gemm_then("Relu (p)"),
        counts={"com.microsoft:FusedGemm": 1},
        target="onnxruntime",
        refused=gemm_then("Relu (p)", outputs="float[n,4] y, float[n,4] p"),
        reason="the Gemm output is a graph output",
    ),
)
