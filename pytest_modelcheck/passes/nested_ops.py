"""Two operators that are one: slices, concatenations, and sequences that are put together and taken apart again.

1. ``Slice(Slice(x, along a), along b) -> Slice(x, along a and b)``, where nothing else reads what is between.
2. ``Concat(Concat(x, y), z) -> Concat(x, y, z)`` along one axis, likewise, but that it may read it twice.
3. ``ConcatFromSequence(SequenceConstruct(x, y)) -> Concat(x, y)``, likewise.
4. ``Cast(CumSum(Cast(x, int64)), int32) -> CumSum(x)`` for x of int32, likewise: sums that wrap are equal in both.
   Position ids of RoBERTa by dynamo are such; LiteRT's converter computes them wrongly in int64.
5. ``Where(Not(c), x, y) -> Where(c, y, x)``, where nothing else reads the Not.
6. ``Unsqueeze(ReduceMean(x, axes), axes) -> ReduceMean(x, axes)`` that keeps its axes, likewise for every reduction.
7. ``SequenceAt(SequenceConstruct(x, y), 1) -> y``, and ``OptionalGetElement(Optional(x)) -> x``.

Source: the operators' pages, https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.readers import read_once, read_outside
from pytest_modelcheck.rewriting.matching import produced_by, rank, reduced_axes, scope_of
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes.shape_rules import REDUCTIONS
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_BY_INPUTS = 10
"""From this opset on the bounds of a Slice are inputs."""

_INT64 = ir.DataType.INT64


def merge_nested(rewriter: Rewriter) -> None:
    """Rules 1 to 6."""
    for node in rewriter.nodes(*_RULES):
        name, merge = _RULES[node.op_type]
        rewriter.begin_rule(name)
        merge(rewriter, node)


def element_of_sequence(rewriter: Rewriter, known: SymbolicShapes, node: ir.Node) -> ir.Value | None:
    """The value that the SequenceAt `node` takes out again."""
    made = produced_by(node.inputs[0], "SequenceConstruct")
    position = None if made is None else rewriter.constant(node.inputs[1])
    if made is None or position is None:
        if made is not None:
            rewriter.refuse("the position in the sequence is not constant", node)
        return None
    index = int(position.item())
    return made.inputs[index] if -len(made.inputs) <= index < len(made.inputs) else None


def element_of_optional(rewriter: Rewriter, known: SymbolicShapes, node: ir.Node) -> ir.Value | None:
    """The value that the OptionalGetElement `node` takes out again."""
    made = produced_by(node.inputs[0], "Optional")
    if made is None or not made.inputs:
        rewriter.refuse("the optional is not made from a value of this graph", node)
        return None
    return made.inputs[0]


def _inner(node: ir.Node, *op_types: str) -> ir.Node | None:
    """The node of one of these types, in the same scope, whose only reader is the first input of `node`."""
    value = node.inputs[0]
    inner = produced_by(value, *op_types)
    return inner if inner is not None and inner.graph is node.graph and read_once(inner.outputs[0]) else None


def _try_merge_slices(rewriter: Rewriter, node: ir.Node) -> bool:
    inner = _inner(node, "Slice")
    if inner is None or rewriter.opset() < _BY_INPUTS:
        return False
    bounds = [_bounds(rewriter, inner), _bounds(rewriter, node)]
    if bounds[0] is None or bounds[1] is None:
        return rewriter.refuse("the bounds of the two Slices are not constant", node)
    axes = [{row[2] for row in rows} for rows in bounds if rows is not None]
    if not axes[0].isdisjoint(axes[1]):
        return rewriter.refuse("both Slices are along one axis", node)
    scope = scope_of(node)
    starts, ends, along, steps = zip(*bounds[0], *bounds[1], strict=True)
    inputs = [rewriter.integers(scope, numbers, "bounds") for numbers in (starts, ends, along, steps)]
    merged = rewriter.node("Slice", [inner.inputs[0], *inputs], like=node.outputs[0])
    return rewriter.replace([inner, node], [merged], {node.outputs[0]: merged.outputs[0]})


def _bounds(rewriter: Rewriter, node: ir.Node) -> list[tuple[int, int, int, int]] | None:
    """(start, end, axis, step) for each axis that the Slice `node` is along; None where they are not known."""
    numbers: list[list[int] | None] = []
    for index in range(1, 5):
        value = node.inputs[index] if index < len(node.inputs) else None
        array = None if value is None else rewriter.constant(value)
        if value is not None and array is None:
            return None
        numbers.append(None if array is None else [int(number) for number in np.atleast_1d(array)])
    starts, ends, axes, steps = numbers
    if starts is None or ends is None:
        return None
    dims = rank(node.inputs[0])
    axes = list(range(len(starts))) if axes is None else axes
    if any(axis < 0 for axis in axes):
        if dims is None:
            return None
        axes = [axis % dims for axis in axes]
    return list(zip(starts, ends, axes, steps or [1] * len(starts), strict=True))


def _try_merge_concats(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 2, for the first of several inner ones."""
    for value in node.inputs:
        inner = produced_by(value, "Concat")
        if inner is None or value is None or inner.graph is not node.graph or value.is_graph_output():
            continue
        if read_outside(value, (node,)):
            continue
        dims = rank(node.outputs[0])
        axes = [integer_attribute(concat, "axis", None) for concat in (inner, node)]
        if None in axes or (axes[0] != axes[1] and (dims is None or (axes[0] or 0) % dims != (axes[1] or 0) % dims)):
            rewriter.refuse("the inner Concat is along another axis", node)
            continue
        inputs = [part for operand in node.inputs for part in (inner.inputs if operand is value else (operand,))]
        merged = rewriter.node("Concat", inputs, {"axis": axes[1]}, like=node.outputs[0])
        return rewriter.replace([inner, node], [merged], {node.outputs[0]: merged.outputs[0]})
    return False


def _try_concat_sequence(rewriter: Rewriter, node: ir.Node) -> bool:
    made = _inner(node, "SequenceConstruct")
    axis = integer_attribute(node, "axis", None)
    if made is None or axis is None:
        return False
    if integer_attribute(node, "new_axis", 0) != 0:
        return rewriter.refuse("the elements of the sequence are put along a new axis", node)
    concat = rewriter.node("Concat", list(made.inputs), {"axis": axis}, like=node.outputs[0])
    return rewriter.replace([made, node], [concat], {node.outputs[0]: concat.outputs[0]})


def _try_narrow_sum(rewriter: Rewriter, node: ir.Node) -> bool:
    total = _inner(node, "CumSum")
    wide = None if total is None else produced_by(total.inputs[0], "Cast")
    if total is None or wide is None or wide.inputs[0] is None:
        return False
    narrow = wide.inputs[0]
    if integer_attribute(node, "to", None) != ir.DataType.INT32 or integer_attribute(wide, "to", None) != _INT64:
        return False
    if narrow.dtype is not ir.DataType.INT32:
        return rewriter.refuse("the CumSum is of values that are not int32", node)
    made = rewriter.node("CumSum", [narrow, *total.inputs[1:]], total.attributes, like=node.outputs[0])
    return rewriter.replace([total, node], [made], {node.outputs[0]: made.outputs[0]})


def _try_swap_branches(rewriter: Rewriter, node: ir.Node) -> bool:
    negation = produced_by(node.inputs[0], "Not")
    if negation is None:
        return False
    if not read_once(negation.outputs[0]) or negation.graph is not node.graph:
        return rewriter.refuse("the negation is read elsewhere, too", node)
    swapped = rewriter.node("Where", [negation.inputs[0], *node.inputs[:0:-1]], like=node.outputs[0])
    return rewriter.replace([negation, node], [swapped], {node.outputs[0]: swapped.outputs[0]})


def _try_keep_axes(rewriter: Rewriter, node: ir.Node) -> bool:
    reduction = _inner(node, *REDUCTIONS, "ArgMax", "ArgMin")
    dims = None if reduction is None else rank(reduction.inputs[0])
    if reduction is None or dims is None or integer_attribute(reduction, "keepdims", 1) != 0:
        return False
    arg = integer_attribute(reduction, "axis", 0) if reduction.op_type.startswith("Arg") else None
    dropped, put = reduced_axes(reduction) if arg is None else (arg,), reduced_axes(node)
    if not dropped or not put or {axis % dims for axis in dropped} != {axis % dims for axis in put}:
        return rewriter.refuse("it puts other axes than the reduction drops", node)
    attributes = {**reduction.attributes, "keepdims": 1}
    kept = rewriter.node(reduction.op_type, reduction.inputs, attributes, like=node.outputs[0])
    return rewriter.replace([reduction, node], [kept], {node.outputs[0]: kept.outputs[0]})


_RULES: dict[str, tuple[str, Callable[[Rewriter, ir.Node], bool]]] = {
    "Slice": ("Slice of a Slice", _try_merge_slices),
    "Concat": ("Concat of a Concat", _try_merge_concats),
    "ConcatFromSequence": ("Concat of a sequence", _try_concat_sequence),
    "Cast": ("CumSum between Casts", _try_narrow_sum),
    "Where": ("Where of a Not", _try_swap_branches),
    "Unsqueeze": ("Unsqueeze of a reduction", _try_keep_axes),
}
"""Operator of the outer node -> name of the rule, and what tries it."""

MERGES = tuple(name for name, _ in _RULES.values())
