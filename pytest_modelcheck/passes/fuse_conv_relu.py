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
from pytest_modelcheck.rewriting.matching import only_reader, produced_by, scalar
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter

_ACTIVATIONS = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid")


@dataclass(frozen=True)
class FuseConvRelu(Pass):
    name: ClassVar[str] = "fuse_conv_relu"
    rules: ClassVar[tuple[str, ...]] = _ACTIVATIONS

    def rewrite(self, rewriter: Rewriter) -> None:
        for activation in rewriter.nodes(*_ACTIVATIONS):
            if (conv := produced_by(activation.inputs[0], "Conv")) is not None:
                rewriter.begin_rule(activation.op_type)
                _try_fuse(rewriter, conv, activation)


def _try_fuse(rewriter: Rewriter, conv: ir.Node, activation: ir.Node) -> bool:
    if rewriter.target != "onnxruntime":
        return rewriter.refuse("no standard operator combines a Conv with an activation", activation)
    product = conv.outputs[0]
    if product.is_graph_output():
        return rewriter.refuse("the Conv output is a graph output", activation)
    if only_reader(product) is not activation:
        return rewriter.refuse(f"the Conv output is used {len(product.uses())} times", activation)
    if product.dtype != ir.DataType.FLOAT:
        return rewriter.refuse("the Conv is not known to be float32, which FusedConv needs", activation)
    if has_reference_attributes(conv) or has_reference_attributes(activation):
        return rewriter.refuse("an attribute is set by the caller of the function", activation)
    parameters = _parameters(rewriter, activation)
    if parameters is None:
        return rewriter.refuse("the Clip bounds are not constants", activation)
    attributes: dict[str, Any] = {name: attribute.value for name, attribute in conv.attributes.items()}
    attributes["activation"] = activation.op_type
    if parameters:
        attributes["activation_params"] = parameters
    output = activation.outputs[0]
    fused = rewriter.node("FusedConv", conv.inputs, attributes, domain="com.microsoft", like=output)
    rewriter.import_domain("com.microsoft", 1)
    return rewriter.replace([conv, activation], [fused], {output: fused.outputs[0]})


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
    bounds = []
    for value, default in zip((*activation.inputs[1:], None, None), (low, high), strict=False):
        bound = default if value is None else scalar(value)
        if bound is None:
            return None
        bounds.append(bound)
    return bounds
