"""Moving Transposes through a region of operators that do not mind the order of axes, where fewer are left after it.

A region grows from one Transpose over the operators that read it, as far as transpose_rules.py goes. Flipped, it reads
what was before the Transposes at its rim, and only what leaves it has to be transposed. It is flipped if that makes
fewer Transposes: those at its rim that vanish, against those that have to be put in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor, is_constant
from pytest_modelcheck.graph.readers import reads
from pytest_modelcheck.passes.transposes.rules import Move, Perm, composed, inverse, move_for
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import permutation, scope_of
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

MAX_NODES = 200
"""A region stops growing here, so that the pass stays linear in the number of nodes."""

_MAX_CONSTANT_BYTES = 1 << 16
"""A larger constant is transposed only if the region is all that reads it."""


@dataclass
class Region:
    """The operators to flip, in the order in which they were found.

    Attributes:
        perm: The Transpose that the values of the region lose.
        entries: Transposes of `perm` that the region reads.
        moves: Node -> how it is rewritten.
        foreign: Other tensors that the region reads; each needs a Transpose of the inverse.
    """

    perm: Perm
    entries: dict[ir.Node, None] = field(default_factory=dict)
    moves: dict[ir.Node, Move] = field(default_factory=dict)
    foreign: dict[ir.Value, None] = field(default_factory=dict)

    def values(self) -> Iterator[ir.Value]:
        """The outputs that change their axis order."""
        for node, move in self.moves.items():
            if not move.ends:
                yield from node.outputs

    def outside(self, value: ir.Value) -> list[tuple[ir.Node, int]]:
        """The readers of `value` that are not in the region."""
        return [(user, index) for user, index in value.uses() if user not in self.moves]

    def takes(self, value: ir.Value) -> bool:
        """Whether nothing but the region reads `value`."""
        return not value.is_graph_output() and not self.outside(value)


def try_flip(rewriter: Rewriter, start: ir.Node) -> bool:
    """Grow a region from the Transpose `start`, without and then with foreign tensors, and flip it if that pays."""
    perm = permutation(start)
    if perm is None or _is_identity(perm):
        return False
    for with_foreign in (False, True):
        region = _grown(rewriter, start, perm, with_foreign=with_foreign)
        if region.moves and _gain(rewriter, region) > 0:
            _flip(rewriter, region)
            return True
        if not region.moves:
            return False
    return False


def _grown(rewriter: Rewriter, start: ir.Node, perm: Perm, *, with_foreign: bool) -> Region:
    region = Region(perm, {start: None})
    pending = [user for user, _ in start.outputs[0].uses()]
    while pending and len(region.moves) < MAX_NODES:
        node = pending.pop(0)
        if node in region.moves or node.graph is not start.graph:
            continue
        if _try_include(rewriter, region, node, with_foreign=with_foreign) and not region.moves[node].ends:
            pending += [user for output in node.outputs for user, _ in output.uses()]
    # A value that was taken for foreign when its reader came may have been reached since.
    inside = set(region.values())
    region.foreign = {value: None for value in region.foreign if value not in inside}
    return region


def _try_include(rewriter: Rewriter, region: Region, node: ir.Node, *, with_foreign: bool) -> bool:
    move = move_for(rewriter, node, region.perm)
    if isinstance(move, str):
        return rewriter.refuse(move, node)
    if move is None or (not move.ends and any(output.is_graph_output() for output in node.outputs)):
        return False
    inside = set(region.values()) | {entry.outputs[0] for entry in region.entries}
    entries, foreign = [], []
    for index in move.operands:
        value = node.inputs[index]
        if value is None or value in inside or _is_single(rewriter.known, value):
            continue
        if is_constant(value):
            if not _may_transpose(value, len(region.perm)):
                return False
            continue
        producer = value.producer()
        if producer is not None and producer.graph is node.graph and permutation(producer) == region.perm:
            entries.append(producer)
            continue
        shape = rewriter.known.shape(value)
        if shape is None:
            return rewriter.refuse(f"the rank of what the {node.op_type} behind the Transpose reads is not known", node)
        if not with_foreign or len(shape) != len(region.perm):
            return False
        foreign.append(value)
    if not any(node.inputs[index] in inside for index in move.operands):
        return False
    shapes = [rewriter.known.shape(output) for output in node.outputs]
    if not move.ends and any(shape is None or len(shape) != len(region.perm) for shape in shapes):
        return False
    region.entries.update(dict.fromkeys(entries))
    region.foreign.update(dict.fromkeys(foreign))
    region.moves[node] = move
    return True


def _is_single(known: SymbolicShapes, value: ir.Value) -> bool:
    """Whether `value` has one element, so that its axes have no order."""
    shape = known.shape(value)
    return shape is not None and all(dim == 1 for dim in shape)


def _may_transpose(value: ir.Value, rank: int) -> bool:
    tensor = constant_tensor(value)
    if tensor is None or len(tensor.shape) > rank:
        return False
    return tensor.nbytes <= _MAX_CONSTANT_BYTES or reads(value) == 1


def _gain(rewriter: Rewriter, region: Region) -> int:
    """How many Transposes fewer there are after the flip."""
    inside = set(region.values())
    if any(entry.inputs[0] in inside for entry in region.entries):
        return 0  # such a Transpose would have to be inside and outside at once
    gain = sum(region.takes(entry.outputs[0]) for entry in region.entries)
    for value in region.foreign:
        gain -= permutation(value.producer()) is None or not region.takes(value)
    for value in region.values():
        outside = region.outside(value)
        orders = [permutation(user) for user, _ in outside]
        gain += sum(order is not None and _is_identity(composed(region.perm, order)) for order in orders)
        gain -= any(order is None for order in orders)
    return gain


def _is_identity(perm: Perm) -> bool:
    return perm == tuple(range(len(perm)))


def _flip(rewriter: Rewriter, region: Region) -> None:
    back = inverse(region.perm)
    before = {entry.outputs[0]: source for entry in region.entries if (source := entry.inputs[0]) is not None}
    changed = list(region.values())
    for value in region.foreign:
        before[value] = _transposed(rewriter, value, back, next(iter(region.moves)), unsettled=changed)
    outside = {value: region.outside(value) for value in changed}
    for node, move in region.moves.items():
        _rewrite(rewriter, node, move, region, before)
    for value in changed:
        if value.shape is not None:
            rewriter.declare(value, shape=[value.shape[axis] for axis in back])
        _leave(rewriter, value, outside[value], region.perm)
        rewriter.known.forget(value)
    for value in before:
        rewriter.sweep(value)
    rewriter.edited()


def _rewrite(rewriter: Rewriter, node: ir.Node, move: Move, region: Region, before: dict[ir.Value, ir.Value]) -> None:
    scope = scope_of(node)
    for index in move.operands:
        value = node.inputs[index]
        if value is None:
            continue
        if value in before:
            rewriter.set_input(node, index, before[value])
        elif (array := rewriter.constant(value)) is not None and array.size != 1:
            full = array.reshape((1,) * (len(region.perm) - array.ndim) + array.shape)
            moved = np.ascontiguousarray(full.transpose(inverse(region.perm)))
            rewriter.set_input(node, index, rewriter.constant_value(scope, moved, value.name or "constant"))
    for index, content in move.constants.items():
        rewriter.set_input(node, index, rewriter.constant_value(scope, content, "axes"))
    rewriter.set_attributes(node, move.attributes)


def _leave(rewriter: Rewriter, value: ir.Value, readers: list[tuple[ir.Node, int]], perm: Perm) -> None:
    """Give the readers outside the region the value in the order they expect."""
    made: ir.Value | None = None
    for user, index in readers:
        order = permutation(user)
        if order is None:
            made = made or _transposed(rewriter, value, perm, value.producer())
            rewriter.set_input(user, index, made)
            continue
        total = composed(perm, order)
        if _is_identity(total) and rewriter.can_replace_value(user.outputs[0], value):
            rewriter.replace_value(user.outputs[0], value)
        else:
            rewriter.set_attributes(user, {"perm": total})


def _transposed(
    rewriter: Rewriter, value: ir.Value, perm: Perm, owner: ir.Node | None, *, unsettled: Sequence[ir.Value] = ()
) -> ir.Value:
    """A Transpose of `value`, after `owner`; of what a Transpose before it reads, unless that is `unsettled`."""
    first = permutation(producer := value.producer())
    source = None if producer is None or first is None else producer.inputs[0]
    if first is not None and source is not None and source not in unsettled:
        value, perm = source, composed(first, perm)
        if _is_identity(perm):
            return value
    shape = None if value.shape is None else [value.shape[axis] for axis in perm]
    node = rewriter.node("Transpose", [value], {"perm": perm}, dtype=value.dtype, shape=shape)
    assert owner is not None
    rewriter.insert_after(owner, node)
    return node.outputs[0]
