"""``fuse_conv_batchnorm``: fold an inference-mode BatchNormalization into the linear operator next to it.

With ``factor = scale / sqrt(var + epsilon)`` and ``shift = bias - mean * factor``, per channel:

1. ``BN(Conv(x, W, b)) -> Conv(x, W * factor, b * factor + shift)``, factors along the output channels;
   ConvTranspose likewise, its output channels being ``group * W.shape[1]``.
2. ``BN(Gemm(a, B, C)) -> Gemm(a, B * factor, beta * C * factor + shift)``, factors along the columns.
3. ``BN(MatMul(a, B)) -> Gemm(a, B * factor, shift)``, where both are matrices.
4. ``Conv(BN(x), W, b) -> Conv(x, W * factor, b + sum(W * shift))``, factors along the input channels, where the Conv
   pads nothing (a padded zero is not moved by the shift, and so would be wrong) or the shift is zero.
5. A Mul or Add of one constant per channel after a Conv or ConvTranspose, as which frozen BatchNormalization is
   exported, like 1.

Folded in float64. Weights are never changed in place: another node may read them. Source: the operators' definitions,
https://onnx.ai/onnx/operators/onnx__BatchNormalization.html; Jacob et al., arXiv:1712.05877, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import (
    float_attribute,
    has_reference_attributes,
    integer_attribute,
    integers_attribute,
    text_attribute,
)
from pytest_modelcheck.rewriting.matching import only_reader, produced_by, rank, scope_of
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter

Array = np.ndarray[Any, Any]

_LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class FuseConvBatchnorm(Pass):
    name: ClassVar[str] = "fuse_conv_batchnorm"
    rules: ClassVar[tuple[str, ...]] = ("after a convolution", "after Gemm", "after MatMul", "before Conv", "frozen")

    def rewrite(self, rewriter: Rewriter) -> None:
        for norm in rewriter.nodes("BatchNormalization"):
            if (linear := produced_by(norm.inputs[0], *_LINEAR)) is not None:
                _try_fold_back(rewriter, linear, norm)
            elif any(use.node.op_type == "Conv" and use.idx == 0 for use in norm.outputs[0].uses()):
                _try_fold_forward(rewriter, norm)
        for node in rewriter.nodes("Mul", "Add"):
            for index in (0, 1):
                linear = produced_by(node.inputs[index], "Conv", "ConvTranspose")
                if linear is not None and rewriter.constant(node.inputs[1 - index]) is not None:
                    _try_fold_back(rewriter, linear, node)
                    break


@dataclass(frozen=True, slots=True)
class _Affine:
    """What a BatchNormalization does to channel c: ``factor[c] * x + shift[c]``, both (channels,) float64."""

    factor: Array
    shift: Array


def _affine(rewriter: Rewriter, norm: ir.Node) -> _Affine | str:
    """The affine map of `norm`, or why it has no constant one."""
    if has_reference_attributes(norm):
        return "an attribute is set by the caller of the function"
    if rewriter.opset() < 9 and integer_attribute(norm, "spatial", 1) != 1:
        return "the BatchNormalization has parameters for every element, not for every channel"
    if rewriter.opset() < 7 and integer_attribute(norm, "is_test", 0) != 1:
        return "the BatchNormalization is in training mode"
    if integer_attribute(norm, "training_mode", 0) or any(
        output.uses() or output.is_graph_output() for output in norm.outputs[1:]
    ):
        return "the BatchNormalization is in training mode"
    parameters = [rewriter.constant(value) for value in norm.inputs[1:5]]
    if any(parameter is None for parameter in parameters):
        return "the BatchNormalization parameters are not constants"
    scale, bias, mean, variance = (np.asarray(parameter, dtype=np.float64) for parameter in parameters)
    guarded = variance + float_attribute(norm, "epsilon", 1e-5)
    if not np.all(guarded > 0):
        return "variance + epsilon is not positive everywhere"
    factor = scale / np.sqrt(guarded)
    return _Affine(factor, bias - mean * factor)


def _channel_affine(rewriter: Rewriter, node: ir.Node, linear: ir.Node, weight: Array) -> _Affine | str:
    """The affine map of a Mul or Add of a constant to the output of `linear` (a convolution), or why there is none."""
    constants = [rewriter.constant(value) for value in node.inputs if value is not linear.outputs[0]]
    channels = weight.shape[0]
    if linear.op_type == "ConvTranspose":
        channels = weight.shape[1] * _group(linear)
    if rewriter.opset() < 7 or len(constants) != 1 or constants[0] is None:
        return f"the {node.op_type} has no constant operand that broadcasts"
    array = constants[0].astype(np.float64)
    spatial = (1,) * (weight.ndim - 2)
    if array.size != 1 and array.shape not in ((channels, *spatial), (1, channels, *spatial)):
        return f"the constant of the {node.op_type} is not one number per channel"
    if array.ndim > weight.ndim:
        return f"the constant of the {node.op_type} adds an axis"
    each = np.broadcast_to(array.reshape(-1), (channels,))
    if node.op_type == "Mul":
        return _Affine(each, np.zeros(channels))
    return _Affine(np.ones(channels), each)


def _try_fold_back(rewriter: Rewriter, linear: ir.Node, norm: ir.Node) -> bool:
    """Rules 1 to 3 and 5."""
    matrices = linear.op_type in ("Gemm", "MatMul")
    after = f"after {linear.op_type}" if matrices else "after a convolution"
    rewriter.begin_rule(after if norm.op_type == "BatchNormalization" else "frozen")
    product = linear.outputs[0]
    if only_reader(product) is not norm:
        return rewriter.refuse(_used_reason(linear, product), norm)
    if has_reference_attributes(linear):
        return rewriter.refuse("an attribute is set by the caller of the function", norm)
    if matrices and (rank(product) != 2 or rank(linear.inputs[1]) != 2):
        return rewriter.refuse(f"the {linear.op_type} is not proven to multiply matrices", norm)
    weight_value = linear.inputs[1]
    weight = rewriter.constant(weight_value)
    if weight is None or weight_value is None:
        return rewriter.refuse(f"the {linear.op_type} weight is not a constant", norm)
    bias_value = linear.inputs[2] if len(linear.inputs) > 2 else None
    bias = rewriter.constant(bias_value)
    if bias_value is not None and bias is None:
        return rewriter.refuse(f"the {linear.op_type} bias is not a constant", norm)
    if norm.op_type == "BatchNormalization":
        affine = _affine(rewriter, norm)
    else:
        affine = _channel_affine(rewriter, norm, linear, weight)
    if isinstance(affine, str):
        return rewriter.refuse(affine, norm)
    folded = _scale_outputs(linear, weight.astype(np.float64), affine.factor)
    if folded is None:
        return rewriter.refuse("the BatchNormalization has another number of channels", norm)
    old_bias: Array = np.float64(0) if bias is None else bias.astype(np.float64)  # type: ignore[assignment]
    if linear.op_type == "Gemm":
        old_bias = old_bias * float_attribute(linear, "beta", 1.0)
    new_bias = old_bias * affine.factor + affine.shift
    op_type, attributes = _folded_form(linear)
    return _replace(
        rewriter,
        [linear, norm],
        linear.inputs[0],
        op_type,
        attributes,
        folded,
        new_bias,
        weight.dtype,
        weight_value.name,
    )


def _try_fold_forward(rewriter: Rewriter, norm: ir.Node) -> bool:
    """Rule 4."""
    rewriter.begin_rule("before Conv")
    middle = norm.outputs[0]
    conv = only_reader(middle, "Conv")
    if conv is None:
        return rewriter.refuse(_used_reason(norm, middle), norm)
    if has_reference_attributes(conv):
        return rewriter.refuse("an attribute is set by the caller of the function", norm)
    weight_value = conv.inputs[1]
    weight = rewriter.constant(weight_value)
    if weight is None or weight_value is None:
        return rewriter.refuse("the Conv weight is not a constant", norm)
    bias_value = conv.inputs[2] if len(conv.inputs) > 2 else None
    bias = rewriter.constant(bias_value)
    if bias_value is not None and bias is None:
        return rewriter.refuse("the Conv bias is not a constant", norm)
    affine = _affine(rewriter, norm)
    if isinstance(affine, str):
        return rewriter.refuse(affine, norm)
    same = text_attribute(conv, "auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    padded = same or any(integers_attribute(conv, "pads", ()) or ())
    if padded and np.any(affine.shift):
        return rewriter.refuse("the Conv pads with zeros, which the BatchNormalization would have shifted", norm)
    group = _group(conv)
    channels = weight.shape[1] * group
    if affine.factor.shape != (channels,):
        return rewriter.refuse("the BatchNormalization has another number of channels", norm)
    # Output channel o of group g reads input channels g * W.shape[1] + i.
    per_group = (group, 1, weight.shape[1], *[1] * (weight.ndim - 2))
    grouped = weight.astype(np.float64).reshape(group, -1, *weight.shape[1:])
    folded = (grouped * affine.factor.reshape(per_group)).reshape(weight.shape)
    moved = (grouped * affine.shift.reshape(per_group)).reshape(weight.shape[0], -1).sum(axis=1)
    new_bias = moved if bias is None else bias.astype(np.float64) + moved
    attributes = {name: attribute.value for name, attribute in conv.attributes.items()}
    return _replace(
        rewriter, [norm, conv], norm.inputs[0], "Conv", attributes, folded, new_bias, weight.dtype, weight_value.name
    )


def _group(conv: ir.Node) -> int:
    return integer_attribute(conv, "group", 1) or 1


def _scale_outputs(linear: ir.Node, weight: Array, factor: Array) -> Array | None:
    """`weight` (float64) with its output channels multiplied by `factor`; None where the channel count differs."""
    trailing = (1,) * (weight.ndim - 2)
    if linear.op_type == "Conv":
        return weight * factor.reshape(-1, 1, *trailing) if weight.shape[0] == factor.size else None
    if linear.op_type == "ConvTranspose":
        group = _group(linear)
        if weight.shape[1] * group != factor.size:
            return None
        grouped = weight.reshape(group, -1, *weight.shape[1:]) * factor.reshape(group, 1, -1, *trailing)
        return np.asarray(grouped.reshape(weight.shape))
    if linear.op_type == "Gemm" and integer_attribute(linear, "transB", 0):
        return weight * factor[:, None] if weight.shape[0] == factor.size else None
    return weight * factor if weight.shape[1] == factor.size else None


def _folded_form(linear: ir.Node) -> tuple[str, dict[str, Any]]:
    attributes = {name: attribute.value for name, attribute in linear.attributes.items()}
    attributes.pop("beta", None)  # already in the folded bias
    return ("Gemm" if linear.op_type == "MatMul" else linear.op_type), attributes


def _replace(
    rewriter: Rewriter,
    nodes: list[ir.Node],
    data: ir.Value | None,
    op_type: str,
    attributes: dict[str, Any],
    weight: Array,
    bias: Array,
    dtype: np.dtype[Any],
    hint: str | None,
) -> bool:
    if not (np.all(np.isfinite(weight.astype(dtype))) and np.all(np.isfinite(bias.astype(dtype)))):
        return rewriter.refuse(f"a folded weight is not finite in {dtype}", nodes[0])
    output = nodes[-1].outputs[0]
    scope = scope_of(nodes[-1])
    stem = hint or op_type
    new_weight = rewriter.constant_value(scope, weight.astype(dtype), stem)
    new_bias = rewriter.constant_value(scope, bias.astype(dtype), f"{stem}_bias")
    fused = rewriter.node(op_type, [data, new_weight, new_bias], attributes, like=output)
    return rewriter.replace(nodes, [fused], {output: fused.outputs[0]})


def _used_reason(node: ir.Node, value: ir.Value) -> str:
    if value.is_graph_output():
        return f"the {node.op_type} output is a graph output"
    if len(value.uses()) == 1:
        return f"the {node.op_type} output is read in a subgraph"
    return f"the {node.op_type} output is used {len(value.uses())} times"
