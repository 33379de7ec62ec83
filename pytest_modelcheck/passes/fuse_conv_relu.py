"""``fuse_conv_relu``: an activation that follows a Conv or a Gemm becomes part of it.

1. ``Activation(Conv(x, W, b)) -> com.microsoft.FusedConv(x, W, b)`` for target ``onnxruntime``, for Relu, LeakyRelu,
   Clip with constant bounds, Sigmoid, Tanh and HardSigmoid; float32, which is what onnxruntime's CPU kernel takes.
2. ``Activation(Gemm(a, B, C)) -> com.microsoft.FusedGemm(a, B, C)`` likewise, for the same ones but Clip.
3. For every other target each Conv is refused: no standard operator combines one with an activation.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedConv
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, has_reference_attributes
from pytest_modelcheck.rewriting import Match, Op, Pass, Rewriter, Rule, apply
from pytest_modelcheck.rewriting.matching import produced_by, scalar

_ACTIVATIONS: dict[str, dict[str, float]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.01},
    "Clip": {},
    "Sigmoid": {},
    "Tanh": {},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
}
"""What a Conv takes in, with the parameters in the order of FusedConv's ``activation_params``, and their defaults."""
_OF_GEMM: dict[str, dict[str, float]] = {
    **{name: defaults for name, defaults in _ACTIVATIONS.items() if name != "Clip"},
    "Elu": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326, "gamma": 1.0507},
    "Softplus": {},
    "Softsign": {},
    "ThresholdedRelu": {"alpha": 1.0},
}
_QUANTIZED = {"Conv": "QLinearConv", "Gemm": "QGemm"}


def _fits(rewriter: Rewriter, match: Match) -> str | None:
    return None if rewriter.target == "onnxruntime" else "no standard operator combines a Conv with an activation"


def _makes(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    linear, activation = match.named["linear"], match.root
    op_type, name = linear.op_type, activation.op_type
    if linear.outputs[0].dtype != ir.DataType.FLOAT:
        return f"the {op_type} is not known to be float32, which Fused{op_type} needs"
    if any(produced_by(value, "DequantizeLinear") is not None for value in linear.inputs[:2]):
        return f"the {op_type} is quantized: onnxruntime makes one {_QUANTIZED[op_type]} of it, with the activation"
    if has_reference_attributes(linear) or has_reference_attributes(activation):
        return "an attribute is set by the caller of the function"
    if op_type == "Gemm" and rewriter.opset() < 7:
        return "below opset 7 a Gemm broadcasts its bias only where an attribute says so"
    parameters = [float_attribute(activation, key, default) for key, default in _OF_GEMM.get(name, {}).items()]
    if name == "Clip" and len(parameters := _bounds(rewriter, activation)) != 2:
        return "the Clip bounds are not constants"
    attributes: dict[str, Any] = {key: attribute.value for key, attribute in linear.attributes.items()}
    attributes["activation"] = name
    if op_type == "Gemm":
        attributes |= {f"activation_{key}": value for key, value in zip(_OF_GEMM[name], parameters, strict=True)}
    elif parameters:
        attributes["activation_params"] = parameters
    rewriter.import_domain("com.microsoft", 1)
    return [rewriter.node(f"Fused{op_type}", linear.inputs, attributes, domain="com.microsoft", like=match.result)]


def _bounds(rewriter: Rewriter, clip: ir.Node) -> list[float]:
    """Lower and upper bound, as far as they are known."""
    widest = np.finfo(np.float32)
    low, high = float(widest.min), float(widest.max)
    if rewriter.opset() < 11:
        return [float_attribute(clip, "min", low), float_attribute(clip, "max", high)]
    given = zip((*clip.inputs[1:], None, None), (low, high), strict=False)
    return [bound for value, wide in given if (bound := wide if value is None else scalar(value)) is not None]


def _rules(op_type: str, activations: Iterable[str], name: str = "") -> tuple[Rule, ...]:
    formulas = [Op(activation, Op(op_type, name="linear")) for activation in activations]
    return tuple(Rule(name=name or f.op_type, formula=f, anchor=f, reach=0, fits=_fits, makes=_makes) for f in formulas)


_CONV_RULES = _rules("Conv", _ACTIVATIONS)
RULES = (*_CONV_RULES, *_rules("Gemm", _OF_GEMM, name="Gemm"))


class FuseConvRelu(Pass):
    name = "fuse_conv_relu"
    rules = tuple(dict.fromkeys(rule.name for rule in RULES))

    def rewrite(self, rewriter: Rewriter) -> None:
        apply(rewriter, RULES if rewriter.target == "onnxruntime" else _CONV_RULES)
