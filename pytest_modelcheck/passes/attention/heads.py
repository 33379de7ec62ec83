"""Heads after a Split: ``Split -> n x (Reshape -> Transpose)`` becomes ``Reshape -> Transpose -> Split``.

1. A Split of the last axis into widths ``h_i * d``, each part reshaped to (..., h_i, d) and transposed to heads first
   (0, 2, 1, 3), is the same as reshaping the whole to (..., sum h_i, d), transposing once and splitting the heads.
2. A part that is transposed to (0, 2, 3, 1), as k is, gets the remaining (0, 1, 3, 2) behind the Split.
3. Parts that are only given other leading axes, the last one kept, are reshaped before the Split, together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute, integers_attribute
from pytest_modelcheck.passes.attention.joined_shapes import put_target, target_for
from pytest_modelcheck.rewriting.matching import only_reader, scope_of
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes.dims import Dim
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_HEADS_FIRST = (0, 2, 1, 3)
KEYS_LAST = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """What turns a projection (..., count * depth) into heads (batch, count, sequence, depth)."""

    reshape: ir.Node
    transpose: ir.Node
    leading: tuple[Dim, Dim]
    count: int
    depth: int
    perm: tuple[int, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for heads that one Reshape and one Transpose can make together."""
        return (self.leading, self.depth)

    @staticmethod
    def saved(heads: Sequence[Heads]) -> int:
        """How many nodes moving these behind one Split saves."""
        return 2 * len(heads) - 2 - sum(h.perm == KEYS_LAST for h in heads)


def heads_of(shapes: SymbolicShapes, value: ir.Value) -> Heads | None:
    """The heads made of `value`, where a Reshape and a Transpose, read by nothing else, make them."""
    reshape = only_reader(value, "Reshape")
    if reshape is None or reshape.inputs[0] is not value:
        return None
    transpose = only_reader(reshape.outputs[0], "Transpose")
    start, shape = shapes.shape(value), shapes.shape(reshape.outputs[0])
    if transpose is None or transpose.outputs[0].is_graph_output() or start is None or shape is None or len(shape) != 4:
        return None
    perm = integers_attribute(transpose, "perm")
    batch, sequence, count, depth = shape
    if perm not in (_HEADS_FIRST, KEYS_LAST) or not isinstance(count, int) or not isinstance(depth, int):
        return None
    if count * depth != start[-1] or depth == 0:
        return None
    return Heads(reshape=reshape, transpose=transpose, leading=(batch, sequence), count=count, depth=depth, perm=perm)


def try_hoist(rewriter: Rewriter, shapes: SymbolicShapes, split: ir.Node) -> bool:
    """Rules 1 and 2 for one Split."""
    whole = split.inputs[0]
    start = shapes.shape(whole)
    if whole is None or start is None or integer_attribute(split, "axis", 0) not in (-1, len(start) - 1):
        return False
    maybe = [heads_of(shapes, output) for output in split.outputs]
    heads = [h for h in maybe if h is not None]
    if len(heads) != len(maybe) or len({h.key for h in heads}) != 1:
        return False
    if Heads.saved(heads) <= 0:
        return rewriter.refuse("moving the heads behind the Split would not save a node", split)
    first = heads[0]
    count = sum(h.count for h in heads)
    shape = (*first.leading, count, first.depth)
    scope = scope_of(split)
    target = target_for(shapes, whole, shape, first.reshape, 2)
    if target is None:
        return rewriter.refuse("the shape of the merged heads is not known", split)
    made: list[ir.Node] = []
    reshape = rewriter.node("Reshape", [whole, put_target(rewriter, scope, target, shape[2:], made)], dtype=whole.dtype)
    transpose = rewriter.node("Transpose", [reshape.outputs[0]], {"perm": list(_HEADS_FIRST)}, dtype=whole.dtype)
    parts = rewriter.split(
        transpose.outputs[0], 1, [h.count for h in heads], scope, [h.transpose.outputs[0] for h in heads]
    )
    made += [reshape, transpose, parts]
    values = {}
    for part, h in zip(parts.outputs, heads, strict=True):
        if h.perm == KEYS_LAST:
            rewriter.declare(part)
            swapped = rewriter.node("Transpose", [part], {"perm": [0, 1, 3, 2]}, like=h.transpose.outputs[0])
            made.append(swapped)
            part = swapped.outputs[0]
        values[h.transpose.outputs[0]] = part
    old = [split, *(node for h in heads for node in (h.reshape, h.transpose))]
    return rewriter.replace(old, made, values)


def try_hoist_reshapes(rewriter: Rewriter, shapes: SymbolicShapes, split: ir.Node) -> bool:
    """Rule 3 for one Split."""
    whole = split.inputs[0]
    start = shapes.shape(whole)
    if whole is None or start is None or integer_attribute(split, "axis", 0) not in (-1, len(start) - 1):
        return False
    reshapes = [only_reader(output, "Reshape") for output in split.outputs]
    found = [node for node in reshapes if node is not None]
    after = [shapes.shape(node.outputs[0]) for node in found]
    before = [shapes.shape(output) for output in split.outputs]
    if len(found) < len(reshapes):
        return False
    if any(a is None or b is None or a[-1] != b[-1] for a, b in zip(after, before, strict=True)):
        return False
    leads = {shape[:-1] for shape in after if shape is not None}
    widths = [shape[-1] for shape in after if shape is not None]
    width = start[-1]
    if len(leads) != 1 or not isinstance(width, int) or any(not isinstance(w, int) for w in widths):
        return False
    (lead,) = leads
    scope = scope_of(split)
    target = target_for(shapes, whole, (*lead, width), found[0], 1)
    if target is None:
        return rewriter.refuse("the shape of the packed projection is not known", split)
    made: list[ir.Node] = []
    reshape = rewriter.node("Reshape", [whole, put_target(rewriter, scope, target, [width], made)], dtype=whole.dtype)
    sizes = [w for w in widths if isinstance(w, int)]
    parts = rewriter.split(reshape.outputs[0], -1, sizes, scope, [node.outputs[0] for node in found])
    values = {node.outputs[0]: part for node, part in zip(found, parts.outputs, strict=True)}
    return rewriter.replace([split, *found], [*made, reshape, parts], values)
