"""Whole attentions as one operator, for the targets that have one.

With q, k and v of shape (batch, sequence, heads * depth), before they are split into heads:

1. target ``opset23``: ``Attention(q, k, v, mask, scale=s)`` of the standard. It gives zeros for rows that a mask of
   -inf leaves empty, so it contains the NaN guard; without a guard such a mask is refused, because NaN would become
   zero. The opset is raised to 23 where every other node keeps its meaning.
2. target ``onnxruntime``: ``com.microsoft.MultiHeadAttention(q, k, v, attention_bias=mask, scale=s)``, float32, without
   a NaN guard; its mask has four axes.

All scalings become the attribute ``scale``. Heads that are repeated for groups of queries stay repeated.
Where q, k and v come in another way (rotary embeddings), the standard operator takes them with their heads.
Source: https://onnx.ai/onnx/operators/onnx__Attention.html (with its erratum on empty rows) and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention;
onnxruntime 1.31 wants the last two axes of a mask in full, which both rules require.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.passes.attention.joined_shapes import Target, put_target, target_for
from pytest_modelcheck.passes.attention.masks import SoftMasks, can_do_without_lowest
from pytest_modelcheck.passes.attention.nan_guard import may_leave_an_empty_row
from pytest_modelcheck.passes.attention.scales import all_scalings
from pytest_modelcheck.passes.attention.search import Attention
from pytest_modelcheck.rewriting.matching import FLOATS, only_reader, produced_by, rank, scope_of
from pytest_modelcheck.rewriting.opset_upgrade import raise_opset
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes.dims import Dim, multiply
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_HEADS_FIRST = (0, 2, 1, 3)
_KEYS_LAST = (0, 2, 3, 1)
_OPSET = 23


@dataclass(frozen=True, slots=True)
class _Operand:
    """q, k or v before it is split into heads: `source`, reshaped to `shape` (batch, sequence, heads * depth).

    Without a `shape`: `source` with its heads, (batch, heads, sequence, depth), and k still transposed.
    """

    source: ir.Value
    shape: tuple[Dim, ...]
    target: Target = ()
    """Empty where the source has `shape`; else a constant Reshape target, or the begin of a computed one."""


@dataclass(slots=True)
class _Plan:
    operands: list[_Operand]
    mask: ir.Value | None
    heads: int
    scale: float
    result: ir.Value
    """What the operator's output stands for: (batch, sequence, heads * depth), or the Reshape that flattens it."""
    flattens: ir.Node | None
    nodes: list[ir.Node] = field(default_factory=list)


def try_form(
    rewriter: Rewriter, shapes: SymbolicShapes, soft_masks: SoftMasks, attention: Attention
) -> list[ir.Value] | None:
    """Replace `attention` by one operator. The new operands q, k and v; None where that was refused."""
    if rewriter.target not in ("opset23", "onnxruntime"):
        return None
    plan = _plan(rewriter, shapes, attention)
    if isinstance(plan, str):
        rewriter.refuse(plan, attention.softmax)
        return None
    if rewriter.target == "opset23" and (reason := raise_opset(rewriter, _OPSET)) is not None:
        rewriter.refuse(reason, attention.softmax)
        return None
    return _apply(rewriter, soft_masks, attention, plan)


def _plan(rewriter: Rewriter, shapes: SymbolicShapes, attention: Attention) -> _Plan | str:
    contrib = rewriter.target == "onnxruntime"
    masks = list(attention.masks)
    if any(node.op_type == "Where" for node, _ in masks) or len(masks) > 1:
        return "the scores are masked by more than one addition"
    if attention.softmax.outputs[0].dtype not in ({ir.DataType.FLOAT} if contrib else FLOATS):
        return "the element type is not one that the operator takes"
    if contrib and attention.guard is not None:
        return "the operator has no NaN guard"
    if not contrib and attention.guard is None and may_leave_an_empty_row(rewriter, attention):
        return "the mask may leave an empty row, whose NaN would become zero"
    query, key = attention.scores.inputs
    scalings, query, key = all_scalings(attention)
    if scalings is None:
        return "the scores are scaled behind the mask"
    scores, values = shapes.shape(attention.scores.outputs[0]), attention.context.inputs[1]
    scale = float(np.prod([scaling.factor for scaling in scalings]))
    if scale <= 0:
        return "the scale is not positive"
    if scores is None or len(scores) != 4 or shapes.shape(attention.softmax.outputs[0]) != scores:
        return "the scores are not (batch, heads, queries, keys)"
    heads, mask = scores[1], masks[0][1] if masks else None
    if not isinstance(heads, int):
        return "the number of heads is not known"
    if mask is not None:
        shape = shapes.shape(mask)
        if shape is None or not (4 if contrib else 2) <= len(shape) <= 4 or shape[-2:] != scores[-2:]:
            return "the last two axes of the mask are not proven to be queries and keys"
        if mask.dtype != attention.softmax.outputs[0].dtype:
            return "the mask has another element type than the scores"
        if not contrib and not can_do_without_lowest(rewriter, mask):
            return "the mask may hold the lowest number, which onnxruntime's Attention takes for minus infinity"
    parts = [_operand(rewriter, shapes, value, perm) for value, perm in ((query, _HEADS_FIRST), (key, _KEYS_LAST))]
    parts.append(_operand(rewriter, shapes, values, _HEADS_FIRST))
    operands = [part for part in parts if part is not None]
    merged = _merge_of_heads(shapes, attention)
    nodes = [attention.scores, *attention.between, attention.softmax, *(attention.guard or ()), attention.context]
    if merged is None or len(operands) < len(parts):
        if contrib or query is None or key is None or values is None or rank(values) != 4:
            return "q, k, v and the context are not split into heads and merged by a Reshape and a Transpose each"
        return _Plan(
            operands=[_Operand(value, ()) for value in (query, key, values)],
            mask=mask,
            heads=heads,
            scale=scale,
            result=attention.context.outputs[0],
            flattens=None,
            nodes=nodes,
        )
    moved = only_reader(attention.context.outputs[0], "Transpose")
    flattens = merged if len(shapes.shape(merged.outputs[0]) or ()) == 2 else None
    return _Plan(
        operands=operands,
        mask=mask,
        heads=heads,
        scale=scale,
        result=merged.outputs[0],
        flattens=flattens,
        nodes=[*nodes, *([] if moved is None else [moved]), merged],
    )


def _operand(
    rewriter: Rewriter, shapes: SymbolicShapes, value: ir.Value | None, perm: tuple[int, ...]
) -> _Operand | None:
    transpose = produced_by(value, "Transpose")
    if transpose is None or integers_attribute(transpose, "perm") != perm:
        if perm != _KEYS_LAST or transpose is None or integers_attribute(transpose, "perm") != (0, 1, 3, 2):
            return None
        return _operand(rewriter, shapes, transpose.inputs[0], _HEADS_FIRST)
    reshape = produced_by(transpose.inputs[0], "Reshape")
    source = None if reshape is None else reshape.inputs[0]
    shape, start = shapes.shape(transpose.inputs[0]), shapes.shape(source)
    if reshape is None or source is None or shape is None or start is None or len(shape) != 4:
        return None
    batch, sequence, heads, depth = shape
    wanted = (batch, sequence, multiply(heads, depth))
    if start == wanted:
        return _Operand(source, wanted)
    if start != (multiply(batch, sequence), wanted[2]):
        return None
    target = target_for(shapes, source, wanted, reshape, 2)
    return None if target is None else _Operand(source, wanted, target)


def _merge_of_heads(shapes: SymbolicShapes, attention: Attention) -> ir.Node | None:
    """The Reshape behind the context that makes (batch, sequence, heads * depth), or the flattened view of that."""
    transpose = only_reader(attention.context.outputs[0], "Transpose")
    if transpose is None or integers_attribute(transpose, "perm") != _HEADS_FIRST:
        return None
    reshape = only_reader(transpose.outputs[0], "Reshape")
    start = shapes.shape(transpose.outputs[0])
    final = None if reshape is None else shapes.shape(reshape.outputs[0])
    if reshape is None or start is None or final is None or len(start) != 4:
        return None
    batch, sequence, heads, depth = start
    width = multiply(heads, depth)
    return reshape if final in ((batch, sequence, width), (multiply(batch, sequence), width)) else None


def _apply(rewriter: Rewriter, soft_masks: SoftMasks, attention: Attention, plan: _Plan) -> list[ir.Value]:
    scope = scope_of(attention.softmax)
    made: list[ir.Node] = []
    inputs: list[ir.Value | None] = []
    for operand in plan.operands:
        value = operand.source
        if operand.target:
            target = put_target(rewriter, scope, operand.target, operand.shape[2:], made)
            # onnxruntime 1.31 takes operands of unknown rank for ones with heads: no room for the output in a Scan.
            rank3 = [dim if isinstance(dim, int) else None for dim in operand.shape]
            node = rewriter.node("Reshape", [value, target], dtype=value.dtype, shape=rank3)
            made.append(node)
            value = node.outputs[0]
        inputs.append(value)
    operands = [value for value in inputs if value is not None]
    attributes: dict[str, Any] = {"scale": plan.scale}
    if not plan.operands[0].shape:
        key, turned = _keys_first(rewriter, operands[1])
        made += turned
        inputs[1] = key
    if rewriter.target == "opset23":
        if plan.operands[0].shape:
            attributes |= {"q_num_heads": plan.heads, "kv_num_heads": plan.heads}
        if plan.mask is not None:
            mask, masking = soft_masks.get(plan.mask, attention.softmax)
            inputs.append(mask)
            made += masking
        operator = rewriter.node("Attention", inputs, attributes, dtype=plan.result.dtype)
    else:
        attributes["num_heads"] = plan.heads
        rewriter.import_domain("com.microsoft", 1)
        bias = [None, None, plan.mask] if plan.mask is not None else []
        operator = rewriter.node(
            "MultiHeadAttention", [*inputs, *bias], attributes, domain="com.microsoft", dtype=plan.result.dtype
        )
    made.append(operator)
    result = operator.outputs[0]
    if plan.flattens is None:
        rewriter.declare(result, shape=plan.result.shape)
    else:
        batch, sequence, width = plan.operands[0].shape[0], plan.operands[0].shape[1], plan.operands[2].shape[2]
        rewriter.declare(result, shape=[dim if isinstance(dim, int) else None for dim in (batch, sequence, width)])
        assert isinstance(width, int)
        view = rewriter.integers(scope, [-1, width], "view")
        made.append(rewriter.node("Reshape", [result, view], like=plan.result))
        result = made[-1].outputs[0]
    rewriter.replace(plan.nodes, made, {plan.result: result})
    return operands


def _keys_first(rewriter: Rewriter, key: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """k as (batch, heads, keys, depth), from (batch, heads, depth, keys)."""
    transpose = produced_by(key, "Transpose")
    if (
        transpose is not None
        and integers_attribute(transpose, "perm") == (0, 1, 3, 2)
        and transpose.inputs[0] is not None
    ):
        return transpose.inputs[0], []
    if transpose is not None and integers_attribute(transpose, "perm") == _KEYS_LAST:
        turned = rewriter.node("Transpose", [transpose.inputs[0]], {"perm": list(_HEADS_FIRST)}, dtype=key.dtype)
    else:
        turned = rewriter.node("Transpose", [key], {"perm": [0, 1, 3, 2]}, dtype=key.dtype)
    return turned.outputs[0], [turned]
