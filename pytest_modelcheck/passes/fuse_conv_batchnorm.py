"""``fuse_conv_batchnorm``: fold an inference-mode BatchNormalization into the linear operator next to it.

With ``factor = scale / sqrt(var + epsilon)`` and ``shift = bias - mean * factor``, per channel:

1. ``BN(Conv(x, W, b)) -> Conv(x, W * factor, b * factor + shift)``, factors along the output channels;
   ConvTranspose likewise, its output channels being ``group * W.shape[1]``.
2. ``BN(Gemm(a, B, C)) -> Gemm(a, B * factor, beta * C * factor + shift)``, factors along the columns.
3. ``BN(MatMul(a, B)) -> Gemm(a, B * factor, shift)``, where both are matrices.
4. ``Conv(BN(x), W, b) -> Conv(x, W * factor, b + sum(W * shift))``, factors along the input channels, where the Conv
   pads nothing (a padded zero is not moved by the shift, and so would be wrong) or the shift is zero.
5. A Mul, Div, Add or Sub of a constant per channel, or a Neg, behind a convolution, as which frozen BatchNormalization
   is exported, like 1; before a Conv, as which images are scaled to what a model was trained with, like 4. A Mul that
   ends a GELU stays: runtimes know the activation by it, and have a kernel for the whole.
6. ``(a @ B + c) * factor -> a @ (B * factor) + c * factor``, one constant per column (LayerScale); c may be missing.

Folded in float64. Weights are never changed in place: another node may read them. Source: the operators' definitions,
https://onnx.ai/onnx/operators/onnx__BatchNormalization.html; Jacob et al., arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import (
    float_attribute,
    has_reference_attributes,
    integer_attribute,
    integers_attribute,
    text_attribute,
)
from pytest_modelcheck.graph.constants import constant_array, constant_tensor
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.passes.per_channel import (
    begins_no_gelu,
    ends_no_gelu,
    group_of,
    of_constant,
    of_norm,
    with_constants,
)
from pytest_modelcheck.rewriting import AnyOf, Match, Op, Pass, Rewriter, Rule, Var, apply, constant
from pytest_modelcheck.rewriting.matching import GEMM_TYPES, rank, scope_of

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class _Folding:
    """A convolution or matrix product with constant parameters, and what is to be folded into it, all in float64.

    Attributes:
        bias: 0 where there is none.
        factor, shift: What the other operator does to channel c, ``factor[c] * x + shift[c]``, both (channels,).
    """

    linear: ir.Node
    weight: Array
    bias: Array
    factor: Array
    shift: Array


def _folding(rewriter: Rewriter, match: Match) -> _Folding | str:
    """What `match` folds into what, or why the parameters are not known."""
    linear, norm = match.named["linear"], match.named["norm"]
    if has_reference_attributes(linear) or has_reference_attributes(norm):
        return "an attribute is set by the caller of the function"
    if linear.op_type in ("Gemm", "MatMul") and (rank(linear.outputs[0]) != 2 or rank(linear.inputs[1]) != 2):
        return f"the {linear.op_type} is not proven to multiply matrices"
    weight, bias = constant_array(linear.inputs[1]), None
    if weight is None:
        return f"the {linear.op_type} weight is not a constant"
    if len(linear.inputs) > 2 and linear.inputs[2] is not None and (bias := constant_array(linear.inputs[2])) is None:
        return f"the {linear.op_type} bias is not a constant"
    normalizes = norm.op_type == "BatchNormalization"
    affine = of_norm(rewriter, norm) if normalizes else of_constant(rewriter, match, weight)
    if isinstance(affine, str):
        return affine
    return _Folding(linear, weight.astype(np.float64), np.asarray(0 if bias is None else bias, np.float64), *affine)


def _fold_back(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    """Rules 1 to 3 and 5."""
    folding = _folding(rewriter, match)
    if isinstance(folding, str):
        return folding
    linear = folding.linear
    weight = _scale_outputs(linear, folding.weight, folding.factor)
    if weight is None:
        return "the BatchNormalization has another number of channels"
    beta = float_attribute(linear, "beta", 1.0) if linear.op_type == "Gemm" else 1.0
    bias = beta * folding.bias * folding.factor + folding.shift
    return _folded(rewriter, match, linear.inputs[0], weight, bias)


def _fold_forward(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    """Rules 4 and 5."""
    folding = _folding(rewriter, match)
    if isinstance(folding, str):
        return folding
    conv, weight = folding.linear, folding.weight
    same = text_attribute(conv, "auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    if (same or any(integers_attribute(conv, "pads", ()) or ())) and np.any(folding.shift):
        return f"the Conv pads with zeros, which the {match.named['norm'].op_type} would have shifted"
    group = group_of(conv)
    if folding.factor.shape != (weight.shape[1] * group,):
        return "the BatchNormalization has another number of channels"
    # Output channel o of group g reads input channels g * W.shape[1] + i.
    per_group = (group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    grouped = weight.reshape(group, -1, *weight.shape[1:])
    scaled = (grouped * folding.factor.reshape(per_group)).reshape(weight.shape)
    moved = (grouped * folding.shift.reshape(per_group)).reshape(weight.shape[0], -1).sum(axis=1)
    return _folded(rewriter, match, match.values["x"], scaled, folding.bias + moved)


def _fold_scale(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    """Rule 6."""
    product, scale, result = match.named["linear"], match.values["constant"], match.result
    weight, factor = constant_array(product.inputs[1]), constant_array(scale)
    bias = constant_array(match.values["bias"]) if "bias" in match.values else None
    assert weight is not None
    assert factor is not None
    if weight.ndim != 2 or factor.shape[-1:] != weight.shape[1:] or factor.size != weight.shape[1]:
        return "the constant of the Mul is not one number per column"
    if bias is not None and bias.size not in (1, factor.size):
        return "the bias is not one number per column"
    if result.dtype not in GEMM_TYPES:
        return "the element type is not float or double"
    if not read_once(match.values["weight"]):
        return "the weight is read by something else, too"
    dims = rank(product.outputs[0])
    if dims is None or factor.ndim > dims or (bias is not None and bias.ndim > dims):
        return "the constants may add an axis"
    scope, dtype = scope_of(match.root), weight.dtype
    each = factor.reshape(-1).astype(np.float64)
    stem = match.values["weight"].name or "weight"
    scaled = rewriter.constant_value(scope, (weight.astype(np.float64) * each).astype(dtype), stem)
    made = [rewriter.node("MatMul", [product.inputs[0], scaled], like=product.outputs[0])]
    if bias is not None:
        moved = (bias.reshape(-1).astype(np.float64) * each).astype(dtype)
        added = rewriter.constant_value(scope, moved, match.values["bias"].name or "bias")
        made.append(rewriter.node("Add", [made[0].outputs[0], added], like=result))
    return made


def _scale_outputs(linear: ir.Node, weight: Array, factor: Array) -> Array | None:
    """`weight` (float64) with its output channels multiplied by `factor`; None where the channel count differs."""
    group = group_of(linear) if linear.op_type == "ConvTranspose" else 1
    axis = 0 if linear.op_type == "Conv" or integer_attribute(linear, "transB", 0) else 1
    if weight.shape[axis] * group != factor.size:
        return None
    each = factor.reshape(group, *(-1 if i == axis else 1 for i in range(weight.ndim)))
    return np.asarray((weight.reshape(group, -1, *weight.shape[1:]) * each).reshape(weight.shape))


def _folded(rewriter: Rewriter, match: Match, data: ir.Value | None, weight: Array, bias: Array) -> list[ir.Node] | str:
    """The linear operator of `match` on `data` with these parameters, stored in the type of its own."""
    linear = match.named["linear"]
    old = linear.inputs[1]
    assert old is not None
    assert old.dtype is not None
    dtype = old.dtype.numpy()
    parameters = [weight.astype(dtype), bias.astype(dtype)]
    if not all(np.all(np.isfinite(array)) for array in parameters):
        return f"a folded weight is not finite in {dtype}"
    if _subnormal(parameters[0]) > _subnormal(constant_array(old)) + _FEW:
        return "the folded weights are too small for float16"
    op_type = "Gemm" if linear.op_type == "MatMul" else linear.op_type
    stem, scope = old.name or op_type, scope_of(match.root)
    if op_type.startswith("Conv") and len(linear.inputs) < 3 and not np.any(bias):
        parameters.pop()
    named = zip(parameters, (stem, f"{stem}_bias"), strict=False)
    inputs = [data, *(rewriter.constant_value(scope, array, name) for array, name in named)]
    attributes = {name: attribute for name, attribute in linear.attributes.items() if name != "beta"}
    return [rewriter.node(op_type, inputs, attributes, like=match.result)]


def _subnormal(weight: Array | None) -> float:
    """Which part of float16 `weight` has fewer bits because it is so small; 0 for types that go further down."""
    if weight is None or weight.dtype != np.float16:
        return 0.0
    return float(np.mean((weight != 0) & (np.abs(weight) < np.finfo(np.float16).tiny)))


def _is_vector(match: Match, value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size > 1  # one number is cleanup_attention's business


def _back(name: str, norm: Op) -> Rule:
    return Rule(name=name, formula=norm, anchor=norm, reach=0, makes=_fold_back)


def _before(name: str, norm: Op) -> Rule:
    return Rule(name=name, formula=Op("Conv", norm, name="linear"), anchor=norm, reach=1, makes=_fold_forward)


_FEW = 0.01
"""More weights than this part may not lose bits."""
_LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_AFTER = {op: "after a convolution" if op.startswith("Conv") else f"after {op}" for op in _LINEAR}
_CONVOLUTION = AnyOf(Op("Conv", name="linear"), Op("ConvTranspose", name="linear"))
_PRODUCT = Op("MatMul", Var("x"), Var("weight", where=constant), name="linear")
_BIASED = Op("Add", _PRODUCT, Var("bias", where=constant))

RULES = (
    *(_back(name, Op("BatchNormalization", Op(op, name="linear"), name="norm")) for op, name in _AFTER.items()),
    _before("before Conv", Op("BatchNormalization", Var("x"), name="norm")),
    *(_back("frozen", norm) for norm in with_constants(_CONVOLUTION, begins_no_gelu)),
    *(_before("scaled input", norm) for norm in with_constants(Var("x"), ends_no_gelu)),
    Rule(
        name="scale",
        formula=Op("Mul", AnyOf(_BIASED, _PRODUCT), Var("constant", where=_is_vector)),
        anchor=_PRODUCT,
        reach=2,
        makes=_fold_scale,
    ),
)


class FuseConvBatchnorm(Pass):
    name = "fuse_conv_batchnorm"
    rules = tuple(dict.fromkeys(rule.name for rule in RULES))

    def rewrite(self, rewriter: Rewriter) -> None:
        before = -1
        while rewriter.rewrites > before:  # what stands before a Conv is reached once what stood between has gone
            before = rewriter.rewrites
            apply(rewriter, RULES)
