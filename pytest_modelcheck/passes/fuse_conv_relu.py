"""``fuse_conv_relu``: an activation that follows a Conv becomes part of it.

1. ``Activation(Conv(x, W, b)) -> com.microsoft.FusedConv(x, W, b)`` for target ``onnxruntime``, for Relu, LeakyRelu,
   Clip with constant bounds, Sigmoid, Tanh and HardSigmoid; float32, which is what onnxruntime's CPU kernel takes.
2. For every other target each candidate is refused: no standard operator combines a Conv with an activation.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedConv
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, has_reference_attributes
from pytest_modelcheck.rewriting.formulas import Match, Op
from pytest_modelcheck.rewriting.matching import produced_by, scalar
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.rewriting.rules import Rule, apply


def _fits(rewriter: Rewriter, match: Match) -> str | None:
    return None if rewriter.target == "onnxruntime" else "no standard operator combines a Conv with an activation"


def _makes(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    conv, activation = match.named["Conv"], match.root
    if conv.outputs[0].dtype != ir.DataType.FLOAT:
        return "the Conv is not known to be float32, which FusedConv needs"
    if any(produced_by(value, "DequantizeLinear") is not None for value in conv.inputs[:2]):
        return "the Conv is quantized: onnxruntime makes one QLinearConv of it, with the activation"
    if has_reference_attributes(conv) or has_reference_attributes(activation):
        return "an attribute is set by the caller of the function"
    parameters = _parameters(rewriter, activation)
    if parameters is None:
        return "the Clip bounds are not constants"
    attributes: dict[str, Any] = {name: attribute.value for name, attribute in conv.attributes.items()}
    attributes["activation"] = activation.op_type
    if parameters:
        attributes["activation_params"] = parameters
    rewriter.import_domain("com.microsoft", 1)
    return [rewriter.node("FusedConv", conv.inputs, attributes, domain="com.microsoft", like=match.result)]


def _parameters(rewriter: Rewriter, activation: ir.Node) -> list[float] | None:
    """The ``activation_params`` of FusedConv, in its order; None where they are not known."""
    if activation.op_type == "LeakyRelu":
        return [float_attribute(activation, "alpha", 0.01)]
    if activation.op_type == "HardSigmoid":
        return [float_attribute(activation, "alpha", 0.2), float_attribute(activation, "beta", 0.5)]
    if activation.op_type != "Clip":
        return []
    widest = np.finfo(np.float32)
    low, high = float(widest.min), float(widest.max)
    if rewriter.opset() < 11:
        return [float_attribute(activation, "min", low), float_attribute(activation, "max", high)]
    given = zip((*activation.inputs[1:], None, None), (low, high), strict=False)
    bounds = [bound for value, wide in given if (bound := wide if value is None else scalar(value)) is not None]
    return bounds if len(bounds) == 2 else None


_ACTIVATIONS = [Op(name, Op("Conv")) for name in ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid")]

RULES = tuple(
    Rule(name=formula.op_type, formula=formula, anchor=formula, reach=0, fits=_fits, makes=_makes)
    for formula in _ACTIVATIONS
)


@dataclass(frozen=True)
class FuseConvRelu(Pass):
    name: ClassVar[str] = "fuse_conv_relu"
    rules: ClassVar[tuple[str, ...]] = tuple(rule.name for rule in RULES)

    def rewrite(self, rewriter: Rewriter) -> None:
        apply(rewriter, RULES)
