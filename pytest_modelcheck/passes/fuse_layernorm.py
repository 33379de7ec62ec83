"""``fuse_layernorm``: written-out layer and RMS normalizations become one operator.

With ``d = x - mean(x)`` and means over the trailing axes:

1. ``d / sqrt(mean(d * d) + epsilon) [* scale] [+ bias]`` -> ``LayerNormalization(x, scale, bias)``, from opset 17.
2. ``x / sqrt(mean(x * x) + epsilon) [* scale]`` -> ``RMSNormalization(x, scale)``, from opset 23.

The square may be Pow or Mul, the quotient Div, or Mul with Reciprocal, or Mul with a Pow of -0.5. Scale and bias must
be constants of exactly the normalized shape; without a scale, one of ones is made. Source: Ba et al., arXiv:1607.06450;
Zhang & Sennrich, arXiv:1910.07467; https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.readers import read_outside
from pytest_modelcheck.rewriting.matching import (
    is_scalar,
    keeps_rank,
    only_reader,
    other_input,
    produced_by,
    rank,
    reduced_axes,
    scalar,
    scope_of,
)
from pytest_modelcheck.rewriting.opset_upgrade import raise_opset
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter

_NEEDS_OPSET = {"LayerNormalization": 17, "RMSNormalization": 23}
_COMPUTED_IN_SINGLE = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


@dataclass(frozen=True)
class FuseLayernorm(Pass):
    name: ClassVar[str] = "fuse_layernorm"
    rules: ClassVar[tuple[str, ...]] = tuple(_NEEDS_OPSET)

    def rewrite(self, rewriter: Rewriter) -> None:
        for root in rewriter.nodes("Sqrt", "Pow"):
            if (match := _match(rewriter, root)) is not None:
                rewriter.begin_rule(match.op_type)
                _try_fuse(rewriter, match)


@dataclass(slots=True, kw_only=True)
class _Match:
    """A normalization of `x`, found from the square root of its variance.

    `nodes` are in graph order and grow while scale and bias are found; the last one makes the result.
    """

    op_type: str
    x: ir.Value
    epsilon: float
    axes: tuple[int, ...]
    nodes: list[ir.Node]
    scale: ir.Value | None = None
    bias: ir.Value | None = None


def _match(rewriter: Rewriter, root: ir.Node) -> _Match | None:
    """The normalization around `root`, a Sqrt or a Pow of -0.5; None where there is none."""
    if root.op_type == "Pow" and not is_scalar(root.inputs[1], -0.5):
        return None
    guard = produced_by(root.inputs[0], "Add")
    if guard is None:
        return None
    for epsilon_value, mean_value in (guard.inputs, guard.inputs[::-1]):
        epsilon, mean = scalar(epsilon_value), produced_by(mean_value, "ReduceMean")
        if epsilon is None or mean is None or epsilon_value is None or not keeps_rank(epsilon_value, mean.outputs[0]):
            continue
        square = produced_by(mean.inputs[0], "Pow", "Mul")
        centered = None if square is None else square.inputs[0]
        if square is None or centered is None or not _is_square(square):
            continue
        quotient = _quotient(root, centered)
        axes = _trailing_axes(rewriter, mean)
        if quotient is None or axes is None:
            continue
        nodes = [square, mean, guard, root, *quotient]
        subtraction = produced_by(centered, "Sub")
        first_mean = None if subtraction is None else produced_by(subtraction.inputs[1], "ReduceMean")
        if (
            subtraction is not None
            and first_mean is not None
            and first_mean.inputs[0] is subtraction.inputs[0]
            and subtraction.inputs[0] is not None
            and _trailing_axes(rewriter, first_mean) == axes
        ):
            return _Match(
                op_type="LayerNormalization",
                x=subtraction.inputs[0],
                epsilon=epsilon,
                axes=axes,
                nodes=[first_mean, subtraction, *nodes],
            )
        return _Match(op_type="RMSNormalization", x=centered, epsilon=epsilon, axes=axes, nodes=nodes)
    return None


def _is_square(node: ir.Node) -> bool:
    if node.op_type == "Pow":
        return is_scalar(node.inputs[1], 2.0)
    return node.inputs[0] is node.inputs[1]


def _quotient(root: ir.Node, centered: ir.Value) -> list[ir.Node] | None:
    """The nodes that divide `centered` by the root: ``Div``, or ``Reciprocal`` and ``Mul``, or (for a Pow) ``Mul``."""
    reader = only_reader(root.outputs[0], "Div", "Reciprocal", "Mul")
    if reader is None:
        return None
    if root.op_type == "Sqrt" and reader.op_type == "Div" and reader.inputs[0] is centered:
        return [reader]
    nodes = []
    inverse = root.outputs[0]
    if root.op_type == "Sqrt":
        inverts = reader.op_type == "Reciprocal" or (reader.op_type == "Div" and is_scalar(reader.inputs[0], 1.0))
        if not inverts:
            return None
        nodes.append(reader)
        inverse = reader.outputs[0]
        following = only_reader(inverse, "Mul")
        if following is None:
            return None
        reader = following
    if reader.op_type != "Mul" or other_input(reader, inverse) is not centered:
        return None
    return [*nodes, reader]


def _trailing_axes(rewriter: Rewriter, mean: ir.Node) -> tuple[int, ...] | None:
    """The reduced axes as negative numbers, ascending to -1; None where they are not trailing, kept and constant."""
    if integer_attribute(mean, "keepdims", 1) != 1:
        return None
    axes = reduced_axes(mean)
    if not axes:
        return None
    dimensions = rank(mean.inputs[0])
    if any(axis >= 0 for axis in axes):
        if dimensions is None:
            return None
        axes = tuple(axis - dimensions if axis >= 0 else axis for axis in axes)
    axes = tuple(sorted(axes))
    return axes if axes == tuple(range(-len(axes), 0)) else None


def _try_fuse(rewriter: Rewriter, match: _Match) -> bool:
    top = match.nodes[-1]
    if match.x.dtype not in _COMPUTED_IN_SINGLE:
        return rewriter.refuse(
            "the element type is unknown or double, which normalization operators compute in single", top
        )
    normalized = None if match.x.shape is None else tuple(match.x.shape)[-len(match.axes) :]
    if normalized is None or not all(isinstance(dim, int) for dim in normalized):
        return rewriter.refuse("the normalized dimensions are not known", top)
    shape = tuple(int(dim) for dim in normalized)  # type: ignore[arg-type]
    _take_scale_and_bias(rewriter, match, shape)
    inside = set(match.nodes)
    for node in match.nodes[:-1]:
        output = node.outputs[0]
        if output.is_graph_output() or read_outside(output, inside):
            return rewriter.refuse("a value inside the normalization is read by something else", top)
    if rewriter.target == "tflite":
        return rewriter.refuse(f"TensorFlow Lite has no {match.op_type}", top)
    needed = _NEEDS_OPSET[match.op_type]
    if rewriter.opset() < needed and rewriter.target == "opset23" and (reason := raise_opset(rewriter, 23)) is not None:
        return rewriter.refuse(reason, top)
    if rewriter.opset() < needed:
        return rewriter.refuse(f"{match.op_type} needs opset {needed}, the model imports {rewriter.opset()}", top)
    last = match.nodes[-1]
    scale = match.scale
    if scale is None:
        ones: np.ndarray[Any, Any] = np.ones(shape, dtype=match.x.dtype.numpy())
        scale = rewriter.constant_value(scope_of(last), ones, "scale")
    inputs = [match.x, scale] if match.bias is None else [match.x, scale, match.bias]
    attributes = {"axis": match.axes[0], "epsilon": match.epsilon, "stash_type": 1}
    output = last.outputs[0]
    fused = rewriter.node(match.op_type, inputs, attributes, like=output)
    return rewriter.replace(match.nodes, [fused], {output: fused.outputs[0]})


def _take_scale_and_bias(rewriter: Rewriter, match: _Match, shape: tuple[int, ...]) -> None:
    """Extend `match` over a following Mul and Add whose other operand is a constant of the normalized shape."""
    current = match.nodes[-1].outputs[0]
    multiply = only_reader(current, "Mul")
    if multiply is not None and _is_parameter(rewriter, other_input(multiply, current), shape):
        match.scale = other_input(multiply, current)
        match.nodes.append(multiply)
        current = multiply.outputs[0]
    if match.op_type != "LayerNormalization":
        return
    add = only_reader(current, "Add")
    if add is not None and _is_parameter(rewriter, other_input(add, current), shape):
        match.bias = other_input(add, current)
        match.nodes.append(add)


def _is_parameter(rewriter: Rewriter, value: ir.Value | None, shape: tuple[int, ...]) -> bool:
    constant = rewriter.constant(value)
    return constant is not None and constant.shape == shape
