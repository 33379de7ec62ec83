"""Whole attentions as one operator, for the targets that have one.

With q, k and v of shape (batch, sequence, heads * depth), before they are split into heads:

1. ``Attention(q, k, v, mask, scale=s)`` of the standard, for the targets ``opset23`` and ``onnxruntime``. It gives
   zeros for rows that a mask of -inf leaves empty, so it contains the NaN guard; without a guard such a mask is
   refused, because NaN would become zero. The opset is raised to 23 where every other node keeps its meaning.
2. Before that, for target ``onnxruntime``: ``com.microsoft.MultiHeadAttention(q, k, v, attention_bias=mask, scale=s)``,
   float32, without a NaN guard; its mask has four axes.

All scalings become the attribute ``scale``. Heads that are repeated for groups of queries stay repeated.
Where q, k and v come in another way (rotary embeddings), the standard operator takes them with their heads.
Source: https://onnx.ai/onnx/operators/onnx__Attention.html (with its erratum on empty rows) and
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention;
onnxruntime 1.31 wants the last two axes of a mask in full, which both rules require.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.passes.attention.heads import HEADS_FIRST, KEYS_LAST
from pytest_modelcheck.passes.attention.joined_shapes import Target, put_target, target_for
from pytest_modelcheck.passes.attention.masks import SoftMasks, can_do_without_lowest
from pytest_modelcheck.passes.attention.nan_guard import may_leave_an_empty_row
from pytest_modelcheck.passes.attention.scales import all_scalings
from pytest_modelcheck.passes.attention.search import Attention
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import FLOATS, only_reader, permutation, produced_by, rank, scope_of
from pytest_modelcheck.rewriting.opset_upgrade import reach_opset
from pytest_modelcheck.shapes.dims import Dim, multiply, static_sizes
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_KEYS_TURNED = (0, 1, 3, 2)
_OPSET = 23
_CONTRIB: dict[str, tuple[bool, ...]] = {"opset23": (False,), "onnxruntime": (True, False)}
"""Target -> whether the contrib operator is tried, in order of preference. On one thread of onnxruntime 1.31 (12 heads
of 64, with a mask) it takes 1.00, 0.98 and 0.91 times as long as the nodes it replaces at 16, 128 and 512 positions,
the standard one 0.73, 0.94 and 1.02. And onnxruntime 1.22 reads it.
"""


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
    """What the operator's output stands for: (batch, sequence, heads * depth), or the flattened view of that."""
    nodes: list[ir.Node]
    contrib: bool


def try_form(rewriter: Rewriter, soft_masks: SoftMasks, attention: Attention) -> list[ir.Value] | None:
    """Replace `attention` by one operator. The new operands q, k and v; None where that was refused."""
    reason = ""
    for contrib in _CONTRIB.get(rewriter.target, ()):
        plan = _plan(rewriter, attention, contrib=contrib)
        if not isinstance(plan, str) and not contrib:
            plan = reach_opset(rewriter, _OPSET, "Attention") or plan
        if not isinstance(plan, str):
            return _apply(rewriter, soft_masks, attention, plan)
        reason = plan
    if reason:
        rewriter.refuse(reason, attention.softmax)
    return None


def _plan(rewriter: Rewriter, attention: Attention, *, contrib: bool) -> _Plan | str:
    masks = list(attention.masks)
    if any(node.op_type == "Where" for node, _ in masks) or len(masks) > 1:
        return "the scores are masked by more than one addition"
    if attention.softmax.outputs[0].dtype not in ({ir.DataType.FLOAT} if contrib else FLOATS):
        return "the element type is not one that the operator takes"
    if contrib and attention.guard is not None:
        return "the operator has no NaN guard"
    if not contrib and attention.guard is None and may_leave_an_empty_row(rewriter, attention):
        return "the mask may leave an empty row, whose NaN would become zero"
    scalings, query, key = all_scalings(attention)
    if scalings is None:
        return "the scores are scaled behind the mask"
    scores, values = rewriter.known.shape(attention.scores.outputs[0]), attention.operands[2]
    scale = float(np.prod([scaling.factor for scaling in scalings]))
    if scale <= 0:
        return "the scale is not positive"
    if scores is None or len(scores) != 4 or rewriter.known.shape(attention.softmax.outputs[0]) != scores:
        return "the scores are not (batch, heads, queries, keys)"
    heads, mask = scores[1], masks[0][1] if masks else None
    if not isinstance(heads, int):
        return "the number of heads is not known"
    if mask is not None:
        shape = rewriter.known.shape(mask)
        if shape is None or not (4 if contrib else 2) <= len(shape) <= 4 or shape[-2:] != scores[-2:]:
            return "the last two axes of the mask are not proven to be queries and keys"
        if mask.dtype != attention.softmax.outputs[0].dtype:
            return "the mask has another element type than the scores"
        if not contrib and not can_do_without_lowest(rewriter, mask):
            return "the mask may hold the lowest number, which onnxruntime's Attention takes for minus infinity"
    splits = ((query, HEADS_FIRST), (key, KEYS_LAST), (values, HEADS_FIRST))
    operands = [part for value, perm in splits if (part := _operand(rewriter.known, value, perm)) is not None]
    merging = _merge_of_heads(rewriter.known, attention)
    if not merging or len(operands) < len(splits):
        if contrib or rank(values) != 4:
            return "q, k, v and the context are not split into heads and merged by a Reshape and a Transpose each"
        operands, merging = [_Operand(value, ()) for value in (query, key, values)], []
    nodes = [attention.scores, *attention.between, attention.softmax, *(attention.guard or ()), attention.context]
    nodes += merging
    return _Plan(operands, mask, heads, scale, nodes[-1].outputs[0], nodes, contrib)


def _operand(shapes: SymbolicShapes, value: ir.Value | None, perm: tuple[int, ...]) -> _Operand | None:
    transpose = produced_by(value, "Transpose")
    order = permutation(transpose)
    if transpose is not None and perm == KEYS_LAST and order == _KEYS_TURNED:
        return _operand(shapes, transpose.inputs[0], HEADS_FIRST)
    reshape = None if transpose is None or order != perm else produced_by(transpose.inputs[0], "Reshape")
    source = None if reshape is None else reshape.inputs[0]
    if reshape is None or source is None:
        return None
    shape, start = shapes.shape(reshape.outputs[0]), shapes.shape(source)
    if shape is None or start is None or len(shape) != 4:
        return None
    batch, sequence, heads, depth = shape
    wanted = (batch, sequence, multiply(heads, depth))
    if start == wanted:
        return _Operand(source, wanted)
    if start != (multiply(batch, sequence), wanted[2]):
        return None
    target = target_for(shapes, source, wanted, reshape, 2)
    return None if target is None else _Operand(source, wanted, target)


def _merge_of_heads(shapes: SymbolicShapes, attention: Attention) -> list[ir.Node]:
    """Transpose and Reshape behind the context that make (batch, sequence, heads * depth), or its flattened view."""
    transpose = only_reader(attention.context.outputs[0], "Transpose")
    if transpose is None or permutation(transpose) != HEADS_FIRST:
        return []
    reshape = only_reader(transpose.outputs[0], "Reshape")
    start = shapes.shape(transpose.outputs[0])
    if reshape is None or start is None or len(start) != 4:
        return []
    batch, sequence, heads, depth = start
    width = multiply(heads, depth)
    merged = ((batch, sequence, width), (multiply(batch, sequence), width))
    return [transpose, reshape] if shapes.shape(reshape.outputs[0]) in merged else []


def _apply(rewriter: Rewriter, soft_masks: SoftMasks, attention: Attention, plan: _Plan) -> list[ir.Value]:
    scope = scope_of(attention.softmax)
    made: list[ir.Node] = []
    operands: list[ir.Value] = []
    for operand in plan.operands:
        value = operand.source
        if operand.target:
            target = put_target(rewriter, scope, operand.target, operand.shape[2:], made)
            # onnxruntime 1.31 takes operands of unknown rank for ones with heads: no room for the output in a Scan.
            rank3 = static_sizes(operand.shape)
            made.append(rewriter.node("Reshape", [value, target], dtype=value.dtype, shape=rank3))
            value = made[-1].outputs[0]
        operands.append(value)
    inputs: list[ir.Value | None] = list(operands)
    attributes: dict[str, Any] = {"scale": plan.scale}
    has_heads = not plan.operands[0].shape
    if has_heads:
        inputs[1], turned = _keys_first(rewriter, operands[1])
        made += turned
    if not plan.contrib:
        op_type, domain = "Attention", ""
        if not has_heads:
            attributes |= {"q_num_heads": plan.heads, "kv_num_heads": plan.heads}
        if plan.mask is not None:
            mask, masking = soft_masks.get(plan.mask, attention.softmax)
            inputs.append(mask)
            made += masking
    else:
        op_type, domain = "MultiHeadAttention", "com.microsoft"
        attributes["num_heads"] = plan.heads
        rewriter.import_domain(domain, 1)
        inputs += [None, None, plan.mask] if plan.mask is not None else []
    made.append(rewriter.node(op_type, inputs, attributes, domain=domain, dtype=plan.result.dtype))
    result = made[-1].outputs[0]
    if len(rewriter.known.shape(plan.result) or ()) != 2:
        rewriter.declare(result, shape=plan.result.shape)
    else:
        batch, sequence, width = *plan.operands[0].shape[:2], plan.operands[2].shape[2]
        rewriter.declare(result, shape=static_sizes((batch, sequence, width)))
        assert isinstance(width, int)
        view = rewriter.integers(scope, [-1, width], "view")
        made.append(rewriter.node("Reshape", [result, view], like=plan.result))
        result = made[-1].outputs[0]
    rewriter.replace(plan.nodes, made, {plan.result: result})
    return operands


def _keys_first(rewriter: Rewriter, key: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """k as (batch, heads, keys, depth), from (batch, heads, depth, keys)."""
    transpose = produced_by(key, "Transpose")
    order, source = permutation(transpose), None if transpose is None else transpose.inputs[0]
    if source is not None and order == _KEYS_TURNED:
        return source, []
    read, perm = (source, HEADS_FIRST) if order == KEYS_LAST else (key, _KEYS_TURNED)
    turned = rewriter.node("Transpose", [read], {"perm": perm}, dtype=key.dtype)
    return turned.outputs[0], [turned]
