from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.decompose_layernorm import DecomposeLayernorm
from tests.passes.fusing_checks import fires, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = DecomposeLayernorm()
SCALE, BIAS = np.linspace(0.5, 2, 5, dtype=np.float32), np.linspace(-1, 1, 5, dtype=np.float32)


def one(
    node: str, *, opset: int = 20, dtype: str = "float", shape: str = "2,n,5", outputs: str = "", **more: Any
) -> Any:
    values = {"scale": SCALE, "bias": BIAS} | more
    used = {name: value for name, value in values.items() if name in node}
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g ({dtype}[{shape}] x) => ({dtype}[a,b,c] y{outputs})'
    return make(f"{text} {{ {node} }}", **used)


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(
    "node",
    [
        "y = LayerNormalization (x, scale, bias)",
        "y = LayerNormalization <epsilon = 0.01> (x, scale)",
        "y = LayerNormalization <axis = 2> (x, scale, bias)",
    ],
)
def test_layer_normalization_is_written_out(node: str, opset: int) -> None:
    counts = fires(PASS, one(node, opset=opset))

    assert "LayerNormalization" not in counts
    assert counts["ReduceMean"] == 2


def test_two_trailing_axes_are_normalized_together() -> None:
    wide = np.ones((4, 5), np.float32)

    assert fires(PASS, one("y = LayerNormalization <axis = 1> (x, scale)", shape="2,4,5", scale=wide))["Sqrt"] == 1


def test_rms_normalization_is_written_out() -> None:
    assert fires(PASS, one("y = RMSNormalization (x, scale)", opset=23)) == {
        "Add": 1,
        "Div": 1,
        "Mul": 2,
        "ReduceMean": 1,
        "Sqrt": 1,
    }


@pytest.mark.parametrize(("form", "op"), [("none", "Erf"), ("tanh", "Tanh")])
def test_gelu_is_written_out(form: str, op: str) -> None:
    assert fires(PASS, one(f'y = Gelu <approximate = "{form}"> (x)'))[op] == 1


def test_half_precision_is_computed_in_single() -> None:
    node = "y = LayerNormalization (x, scale, bias)"
    half = one(node, dtype="float16", scale=SCALE.astype(np.float16), bias=BIAS.astype(np.float16))

    assert fires(PASS, half, tolerance=1e-2)["Cast"] == 4


def test_a_branch_of_an_if_is_written_out_too() -> None:
    assert fires(PASS, in_subgraph(one("y = Gelu (x)")))["Erf"] == 2


def test_inside_a_function_the_element_type_is_that_of_its_call() -> None:
    assert "Gelu" not in fires(PASS, in_function(one("y = Gelu (x)")))


def test_a_mean_that_is_an_output_is_refused() -> None:
    model = one("y, m = LayerNormalization (x, scale)", outputs=", float[a,b,d] m")

    assert refuses(PASS, model) == {"the mean or the inverse deviation is read as well"}


def set_by_the_caller(call: str, name: str, *, opset: int = 20) -> Any:
    """One node in a function, whose attribute `name` is the function's own."""
    model = in_function(one(f"y = {call}", opset=opset))
    (function,) = model.functions
    default = onnx.helper.make_attribute(name, -1 if name == "axis" else "tanh")
    function.attribute_proto.append(default)
    function.node[-1].attribute.add(name=name, type=default.type).ref_attr_name = name
    return model


READ = "the mean or the inverse deviation is read as well"
CASES = (
    RuleCase(
        pass_=PASS,
        rule="LayerNormalization",
        fires=one("y = LayerNormalization (x, scale, bias)"),
        refused=one("y, m = LayerNormalization (x, scale)", outputs=", float[a,b,d] m"),
        reason=READ,
    ),
    RuleCase(
        pass_=PASS,
        rule="RMSNormalization",
        fires=one("y = RMSNormalization (x, scale)", opset=23),
        refused=set_by_the_caller("RMSNormalization (x, scale)", "axis", opset=23),
        reason="an attribute is set by the caller of the function",
    ),
    RuleCase(
        pass_=PASS,
        rule="Gelu",
        fires=one("y = Gelu (x)"),
        refused=set_by_the_caller("Gelu (x)", "approximate"),
        reason="an attribute is set by the caller of the function",
    ),
)
