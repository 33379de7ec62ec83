"""Two operators that are one: slices, concatenations, and sequences that are put together and taken apart again.

1. ``Slice(Slice(x, along a), along b) -> Slice(x, along a and b)``, where nothing else reads what is between.
2. ``Concat(Concat(x, y), z) -> Concat(x, y, z)`` along one axis, likewise, but that it may read it twice.
3. ``ConcatFromSequence(SequenceConstruct(x, y)) -> Concat(x, y)``, likewise.
4. ``Cast(CumSum(Cast(x, int64)), int32) -> CumSum(x)`` for x of int32, likewise, and for x that a Cast makes int32:
   sums that wrap are equal in both.
   Position ids of RoBERTa by dynamo are such; LiteRT's converter computes them wrongly in int64.
5. ``Where(Not(c), x, y) -> Where(c, y, x)``, where nothing else reads the Not.
6. ``Unsqueeze(ReduceMean(x, axes), axes) -> ReduceMean(x, axes)`` that keeps its axes, likewise for every reduction.
7. ``ReduceMax(ReduceMax(x, a), b) -> ReduceMax(x, a and b)``, likewise for others, but ReduceLogSum, ReduceSumSquare.
8. ``(x * c) * d -> x * (c * d)`` for constants c and d.
9. ``SequenceAt(SequenceConstruct(x, y), 1) -> y``, and ``OptionalGetElement(Optional(x)) -> x``.

Source: the operators' pages, https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.constants import constant_array
from pytest_modelcheck.graph.readers import read_once, read_outside, reads
from pytest_modelcheck.rewriting import AnyOf, Match, Op, Rewriter, Rule, Var, apply, constant
from pytest_modelcheck.rewriting.matching import FLOATS, produced_by, rank, reduced_axes, scope_of
from pytest_modelcheck.shapes.dims import are_numbers
from pytest_modelcheck.shapes.known import Facts, Unknown
from pytest_modelcheck.shapes.operator_kinds import REDUCTIONS
from pytest_modelcheck.shapes.slices import slice_bounds

_INT32 = ir.DataType.INT32
_SLICES, _CONCATS = "Slice of a Slice", "Concat of a Concat"
_MOST_REPEATED = 32
"""Inputs that are written out for a Concat which is read more than once: each ``x = Concat(x, x)`` doubles them."""

_NARROWER = (ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)

Found = ir.Value | str | None
"""The value that may stand for the first output of a node; None where there is none, the reason where one is close."""


def merge_nested(rewriter: Rewriter) -> None:
    """Rules 1 to 8."""
    rewriter.begin_rule(_SLICES)
    for node in rewriter.nodes("Slice"):
        _try_merge_slices(rewriter, node)
    rewriter.begin_rule(_CONCATS)
    for node in reversed([*rewriter.nodes("Concat")]):
        if node.graph is not None and not rewriter.exhausted:
            _try_merge_concats(rewriter, node)
    apply(rewriter, _FORMULAS)


def element_of_sequence(rewriter: Rewriter, node: ir.Node) -> Found:
    """The value that the SequenceAt `node` takes out again."""
    made, position = produced_by(node.inputs[0], "SequenceConstruct"), rewriter.constant(node.inputs[1])
    if made is None or position is None:
        return None if made is None else "the position in the sequence is not constant"
    index = int(position.item())
    return made.inputs[index] if -len(made.inputs) <= index < len(made.inputs) else None


def element_of_optional(rewriter: Rewriter, node: ir.Node) -> Found:
    """The value that the OptionalGetElement `node` takes out again."""
    made = produced_by(node.inputs[0], "Optional")
    if made is None or not made.inputs:
        return "the optional is not made from a value of this graph"
    return made.inputs[0]


def _try_merge_slices(rewriter: Rewriter, node: ir.Node) -> bool:
    inner = produced_by(node.inputs[0], "Slice")
    if inner is None or inner.graph is not node.graph or not read_once(inner.outputs[0]) or "starts" in node.attributes:
        return False
    rewriter.known.refresh()
    try:
        bounds = [slice_bounds(Facts(slice_, rewriter.known)) for slice_ in (inner, node)]
    except Unknown:
        bounds = []
    rows = [(axis, *row) for along in bounds for axis, row in along.items()]
    if not bounds or not all(map(are_numbers, rows)):
        return rewriter.refuse("the bounds of the two Slices are not constant", node)
    if bounds[0].keys() & bounds[1].keys():
        return rewriter.refuse("both Slices are along one axis", node)
    columns = ([number for row in rows if isinstance(number := row[i], int)] for i in range(4))
    axes, starts, ends, steps = (rewriter.integers(scope_of(node), column, "bounds") for column in columns)
    merged = rewriter.node("Slice", [inner.inputs[0], starts, ends, axes, steps], like=node.outputs[0])
    return rewriter.replace([inner, node], [merged], {node.outputs[0]: merged.outputs[0]})


def _try_merge_concats(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 2 for all that lead to `node`, at once: one after another, a chain of n would be copied n times."""
    inner: list[ir.Node] = []
    parts: list[ir.Value | None] = []
    left: list[ir.Node | tuple[ir.Value | None, ir.Node]] = [(value, node) for value in reversed(node.inputs)]
    while left:
        item = left.pop()
        if isinstance(item, ir.Node):
            inner.append(item)
        elif (concat := _inner_concat(rewriter, *item, outer=node)) is None:
            parts.append(item[0])
        else:
            left += [concat, *((value, concat) for value in reversed(concat.inputs))]
    if not inner:
        return False
    merged = rewriter.node("Concat", parts, {"axis": integer_attribute(node, "axis", None)}, like=node.outputs[0])
    return rewriter.replace([*dict.fromkeys(inner), node], [merged], {node.outputs[0]: merged.outputs[0]})


def _inner_concat(rewriter: Rewriter, value: ir.Value | None, reader: ir.Node, outer: ir.Node) -> ir.Node | None:
    """What makes `value`, where it may be written out in `reader`, a Concat that leads to `outer`."""
    inner = produced_by(value, "Concat")
    if inner is None or value is None or inner.graph is not reader.graph or value.is_graph_output():
        return None
    if read_outside(value, (reader,)):
        return None
    if (times := reads(value)) > 1 and (reader is not outer or times * len(inner.inputs) > _MOST_REPEATED):
        return None
    dims = rank(value) or rank(reader.outputs[0])
    axes = [integer_attribute(concat, "axis", None) for concat in (inner, reader)]
    if None in axes or (axes[0] != axes[1] and (dims is None or (axes[0] or 0) % dims != (axes[1] or 0) % dims)):
        rewriter.refuse("the inner Concat is along another axis", reader)
        return None
    return inner


def _concat_sequence(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    axis = integer_attribute(match.root, "axis", None)
    if integer_attribute(match.root, "new_axis", 0) != 0 or axis is None:
        return "the elements of the sequence are put along a new axis"
    return [rewriter.node("Concat", match.named["SequenceConstruct"].inputs, {"axis": axis}, like=match.result)]


def _narrow_sum(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    total, narrow = match.named["CumSum"], match.values["x"]
    cast = [rewriter.node("Cast", [narrow], {"to": _INT32}, dtype=_INT32)] if narrow.dtype in _NARROWER else []
    if not cast and narrow.dtype != _INT32:
        return "the CumSum is of values that int32 does not hold"
    operands = [cast[0].outputs[0] if cast else narrow, *total.inputs[1:]]
    return [*cast, rewriter.node("CumSum", operands, total.attributes, like=match.result)]


def _swap_branches(rewriter: Rewriter, match: Match) -> list[ir.Node]:
    return [rewriter.node("Where", [match.values["condition"], *match.root.inputs[:0:-1]], like=match.result)]


def _keep_axes(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    reduction = match.named["reduction"]
    dims = rank(reduction.inputs[0])
    arg = integer_attribute(reduction, "axis", 0) if reduction.op_type.startswith("Arg") else None
    dropped, put = reduced_axes(reduction) if arg is None else (arg,), reduced_axes(match.root)
    if not dropped or not put or not dims or {axis % dims for axis in dropped} != {axis % dims for axis in put}:
        return "it puts other axes than the reduction drops"
    attributes = {**reduction.attributes, "keepdims": 1}
    return [rewriter.node(reduction.op_type, reduction.inputs, attributes, like=match.result)]


def _reduce_once(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    inner, outer, x = match.named["inner"], match.root, match.values["x"]
    dims, first, second = rank(x), reduced_axes(inner), reduced_axes(outer)
    keeps = integer_attribute(outer, "keepdims", 1)
    if keeps is None or keeps != integer_attribute(inner, "keepdims", 1) or not (dims and first and second):
        return "the two reductions do not keep the same axes, or all are reduced"
    if outer.op_type in _ROUNDED and x.dtype not in FLOATS:
        return f"the {outer.op_type} of integers is rounded"
    gone = {axis % dims for axis in first}
    left = [axis for axis in range(dims) if keeps or axis not in gone]
    axes = sorted(gone.union(left[axis] for axis in second))
    given = {"axes": axes} if "axes" in outer.attributes else {}
    inputs = [x] if given else [x, rewriter.integers(scope_of(outer), axes, "axes")]
    return [rewriter.node(outer.op_type, inputs, {**outer.attributes, **given}, like=match.result)]


def _multiply_once(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    first, second = (constant_array(match.values[name]) for name in ("c", "d"))
    assert first is not None
    assert second is not None
    with np.errstate(all="ignore"):
        product = np.asarray(first * second)
    if product.shape not in (first.shape, second.shape):
        return "the product of the constants is larger than each of them"
    if not np.isfinite(product).all() or np.any((product == 0) & (first != 0) & (second != 0)):
        return "the product of the constants overflows, or vanishes"
    both = rewriter.constant_value(scope_of(match.root), product, "factor")
    return [rewriter.node("Mul", [match.values["x"], both], like=match.result)]


def _has(name: str, number: int, default: int | None = None) -> Callable[[Match, ir.Node], bool]:
    return lambda match, node: integer_attribute(node, name, default) == number


_WIDE = Op("Cast", Var("x"), name="wide", where=_has("to", ir.DataType.INT64))
_DROPS_AXES = _has("keepdims", 0, default=1)
_REDUCTION = AnyOf(*(Op(op, name="reduction", where=_DROPS_AXES) for op in (*REDUCTIONS, "ArgMax", "ArgMin")))

_C, _D = Var("c", where=constant), Var("d", where=constant)
_TWICE = "reduction of a reduction"
_ROUNDED = ("ReduceL2", "ReduceLogSumExp", "ReduceMean")
_ASSOCIATIVE = ("ReduceL1", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", *_ROUNDED)

_FORMULAS = tuple(
    Rule(name=name, formula=formula, anchor=formula, reach=0, makes=makes)
    for name, formula, makes in (
        ("Concat of a sequence", Op("ConcatFromSequence", Op("SequenceConstruct")), _concat_sequence),
        ("CumSum between Casts", Op("Cast", Op("CumSum", _WIDE), where=_has("to", _INT32)), _narrow_sum),
        ("Where of a Not", Op("Where", Op("Not", Var("condition"))), _swap_branches),
        ("Unsqueeze of a reduction", Op("Unsqueeze", _REDUCTION), _keep_axes),
        ("Mul of a Mul", Op("Mul", Op("Mul", Var("x"), _C), _D), _multiply_once),
        *((_TWICE, Op(op, Op(op, Var("x"), name="inner")), _reduce_once) for op in _ASSOCIATIVE),
    )
)

MERGES = (_SLICES, _CONCATS, *dict.fromkeys(rule.name for rule in _FORMULAS))
