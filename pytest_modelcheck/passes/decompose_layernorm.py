"""``decompose_layernorm``: normalizations and GELU written out, for converters without these operators.

1. ``LayerNormalization(x, scale, bias)`` -> ``d / Sqrt(ReduceMean(d * d) + epsilon) * scale + bias``, with
   ``d = x - ReduceMean(x)``.
2. ``RMSNormalization(x, scale)`` -> ``x / Sqrt(ReduceMean(x * x) + epsilon) * scale``.
3. ``Gelu(x)`` -> ``0.5 * x * (1 + Erf(x / sqrt(2)))``, with approximate="tanh"
   ``0.5 * x * (1 + Tanh(sqrt(2/pi) * (x + 0.044715 * x * x * x)))``.

For target ``tflite`` rule 3 does not apply: TensorFlow Lite has GELU built in, and no ERF.

Normalizations of 16-bit floats are computed in single precision, as their stash_type says. A preparation pass: it adds
nodes, and is not in the default pipeline. Source: the function bodies in https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import (
    float_attribute,
    has_reference_attributes,
    integer_attribute,
    text_attribute,
)
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import FLOATS, rank, scope_of

_HALF = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


class DecomposeLayernorm(Pass):
    name = "decompose_layernorm"
    rules = ("LayerNormalization", "RMSNormalization", "Gelu")

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes(*(rule for rule in self.rules if rule != "Gelu" or self.target != "tflite")):
            rewriter.begin_rule(node.op_type)
            _try_decompose(rewriter, node)


@dataclass(slots=True)
class _Writer:
    """Writes elementwise formulas as nodes; all values have the element type `dtype`."""

    rewriter: Rewriter
    scope: ir.Graph | ir.Function
    dtype: ir.DataType
    nodes: list[ir.Node] = field(default_factory=list)

    def __call__(
        self, op_type: str, *inputs: ir.Value | float, dtype: ir.DataType | None = None, **attributes: Any
    ) -> ir.Value:
        values = [self.number(value) if isinstance(value, float) else value for value in inputs]
        self.nodes.append(self.rewriter.node(op_type, values, attributes, dtype=dtype or self.dtype))
        return self.nodes[-1].outputs[0]

    def number(self, value: float) -> ir.Value:
        return self.rewriter.constant_value(self.scope, np.asarray(value, dtype=self.dtype.numpy()), "constant")

    def mean(self, value: ir.Value, axes: list[int]) -> ir.Value:
        if self.rewriter.opset() < 18:
            return self("ReduceMean", value, axes=axes)
        return self("ReduceMean", value, self.rewriter.integers(self.scope, axes, "axes"))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        return self("Cast", value, dtype=dtype, to=int(dtype))


def _try_decompose(rewriter: Rewriter, node: ir.Node) -> bool:
    x, output = node.inputs[0], node.outputs[0]
    if has_reference_attributes(node):
        return rewriter.refuse("an attribute is set by the caller of the function", node)
    if x is None or x.dtype not in FLOATS or x.dtype is None:
        return rewriter.refuse("the element type is not a known float type", node)
    if any(extra.uses() or extra.is_graph_output() for extra in node.outputs[1:]):
        return rewriter.refuse("the mean or the inverse deviation is read as well", node)
    axes = [] if node.op_type == "Gelu" else _axes(node)
    if axes is None:
        return rewriter.refuse("the rank of the input is not known", node)
    single = node.op_type != "Gelu" and x.dtype in _HALF and integer_attribute(node, "stash_type", 1) == 1
    write = _Writer(rewriter, scope_of(node), ir.DataType.FLOAT if single else x.dtype)
    result = _gelu(write, node, x) if node.op_type == "Gelu" else _normalized(write, node, x, axes)
    rewriter.declare(result, like=output)
    return rewriter.replace([node], write.nodes, {output: result})


def _axes(node: ir.Node) -> list[int] | None:
    """The normalized axes, counted from the end; None where that needs a rank that is not known."""
    axis, dimensions = integer_attribute(node, "axis", -1), rank(node.inputs[0])
    if axis is None or (axis >= 0 and dimensions is None):
        return None
    return list(range(axis - (dimensions or 0) if axis >= 0 else axis, 0))


def _normalized(write: _Writer, node: ir.Node, x: ir.Value, axes: list[int]) -> ir.Value:
    own = x.dtype
    inputs = [x, *(value for value in node.inputs[1:] if value is not None)]
    if write.dtype != own:
        inputs = [write.cast(value, write.dtype) for value in inputs]
    data, *parameters = inputs
    if node.op_type == "LayerNormalization":
        data = write("Sub", data, write.mean(data, axes))
    variance = write.mean(write("Mul", data, data), axes)
    result = write("Div", data, write("Sqrt", write("Add", variance, float_attribute(node, "epsilon", 1e-5))))
    if parameters:
        result = write("Mul", result, parameters[0])
    if len(parameters) > 1:
        result = write("Add", result, parameters[1])
    return result if write.dtype == own or own is None else write.cast(result, own)


def _gelu(write: _Writer, node: ir.Node, x: ir.Value) -> ir.Value:
    if text_attribute(node, "approximate", "none") == "tanh":
        cube = write("Mul", write("Mul", x, x), x)
        inner = write("Mul", write("Add", x, write("Mul", cube, 0.044715)), math.sqrt(2 / math.pi))
        bracket = write("Add", write("Tanh", inner), 1.0)
    else:
        bracket = write("Add", write("Erf", write("Div", x, math.sqrt(2))), 1.0)
    return write("Mul", write("Mul", x, 0.5), bracket)
