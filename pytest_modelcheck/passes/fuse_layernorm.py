"""``fuse_layernorm``: written-out layer and RMS normalizations become one operator.

With ``d = x - mean(x)`` and means over the trailing axes:

1. ``d * (mean(d**2) + epsilon)**-0.5 [* scale] [+ bias]`` -> ``LayerNormalization(x, scale, bias)``, from opset 17.
2. ``x * (mean(x**2) + epsilon)**-0.5 [* scale]`` -> ``RMSNormalization(x, scale)``, from opset 23.

All targets but ``portable`` and ``tflite`` raise the opset for them where they can. A residual sum stays beside the
normalization for target ``onnxruntime``, too: on one thread of onnxruntime 1.31 and 1.32 com.microsoft
``SkipLayerNormalization`` takes 3 to 6 times as long as the two nodes, a whole BERT 1.10 to 1.15 times; that of RMS,
1.0 to 1.7 times. (In 1.22 to 1.26 it took 0.8 times as long.)

Scale and bias must be constants of exactly the normalized shape; without a scale, one of ones is made. Where a value
inside, such as the variance, is needed elsewhere, the nodes that make it stay beside the operator. Source: Ba et
al., arXiv:1607.06450; Zhang & Sennrich, arXiv:1910.07467; https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.rewriting import AnyOf, Match, Op, Pass, Pattern, Product, Rewriter, Rule, Scalar, Var, apply
from pytest_modelcheck.rewriting.matching import rank, reduced_axes, scope_of
from pytest_modelcheck.rewriting.opset_upgrade import reach_opset

_NEEDS_OPSET = {"LayerNormalization": 17, "RMSNormalization": 23}
_COMPUTED_IN_SINGLE = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})


def _trailing_axes(mean: ir.Node) -> tuple[int, ...] | None:
    """The reduced axes as negative numbers, ascending to -1; None where they are not trailing, kept and constant."""
    axes, dimensions = reduced_axes(mean), rank(mean.inputs[0])
    if integer_attribute(mean, "keepdims", 1) != 1 or not axes or (max(axes) >= 0 and dimensions is None):
        return None
    axes = tuple(sorted(axis - (dimensions or 0) if axis >= 0 else axis for axis in axes))
    return axes if axes == tuple(range(-len(axes), 0)) else None


def _normalized_shape(match: Match) -> tuple[int, ...] | None:
    """The sizes of the normalized axes of x, where they are known."""
    axes, shape = _trailing_axes(match.named["variance"]), match.values["x"].shape
    sizes = () if axes is None or shape is None else tuple(shape)[axes[0] :]
    numbers = tuple(size for size in sizes if isinstance(size, int))
    return numbers if numbers and len(numbers) == len(sizes) else None


def _is_parameter(match: Match, value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.shape == _normalized_shape(match)


def _same_axes(match: Match, variance: ir.Node) -> bool:
    axes = _trailing_axes(variance)
    return axes is not None and axes == _trailing_axes(match.named.get("mean", variance))


def _variance(d: Pattern) -> Op:
    return Op("ReduceMean", Product(1, {d: 2}), name="variance", where=_same_axes)


def _normalized(d: Pattern, variance: Op) -> Pattern:
    """``d / sqrt(variance + epsilon) [* scale]``."""
    quotient = Product(1, {d: 1, variance + Scalar("epsilon"): -0.5})
    return AnyOf(Op("Mul", quotient, Var("scale", where=_is_parameter)), quotient)


_x = Var("x")
_d = Var("d", Op("Sub", _x, Op("ReduceMean", _x, name="mean")))
_LAYER_VARIANCE, _RMS_VARIANCE = _variance(_d), _variance(_x)
_RMS, _CENTERED = _normalized(_x, _RMS_VARIANCE), _normalized(_d, _LAYER_VARIANCE)
_LAYER = AnyOf(Op("Add", _CENTERED, Var("bias", where=_is_parameter)), _CENTERED)


def _fits(rewriter: Rewriter, match: Match) -> str | None:
    if match.values["x"].dtype not in _COMPUTED_IN_SINGLE:
        return "the element type is unknown or double, which normalization operators compute in single"
    return "the normalized dimensions are not known" if _normalized_shape(match) is None else None


def _makes(op_type: str, rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    if rewriter.target == "tflite":
        return f"TensorFlow Lite has no {op_type}"
    if (reason := reach_opset(rewriter, _NEEDS_OPSET[op_type], op_type)) is not None:
        return reason
    shape, scale, bias = _normalized_shape(match) or (), _scale(rewriter, match), match.values.get("bias")
    attributes = {"axis": -len(shape), "epsilon": match.numbers["epsilon"], "stash_type": 1}
    inputs = [match.values["x"], scale] if bias is None else [match.values["x"], scale, bias]
    return [rewriter.node(op_type, inputs, attributes, like=match.result)]


def _scale(rewriter: Rewriter, match: Match) -> ir.Value:
    """The factors that the formula has, or ones."""
    scale, shape, dtype = match.values.get("scale"), _normalized_shape(match), match.values["x"].dtype
    assert shape is not None
    assert dtype is not None
    if scale is not None:
        return scale
    ones: np.ndarray[Any, Any] = np.ones(shape, dtype=dtype.numpy())
    return rewriter.constant_value(scope_of(match.root), ones, "scale")


RULES = tuple(
    Rule(
        name=op_type,
        formula=formula,
        anchor=anchor,
        reach=6,
        called="normalization",
        fits=_fits,
        makes=partial(_makes, op_type),
        repeats=True,
    )
    for op_type, formula, anchor in (
        ("LayerNormalization", _LAYER, _LAYER_VARIANCE),
        ("RMSNormalization", _RMS, _RMS_VARIANCE),
    )
)


class FuseLayernorm(Pass):
    name = "fuse_layernorm"
    rules = tuple(rule.name for rule in RULES)

    def rewrite(self, rewriter: Rewriter) -> None:
        apply(rewriter, RULES)
