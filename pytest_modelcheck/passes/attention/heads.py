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

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.passes.attention.joined_shapes import put_target, target_for
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import only_reader, permutation, scope_of
from pytest_modelcheck.shapes.dims import Dim
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

HEADS_FIRST = (0, 2, 1, 3)
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
    perm = permutation(transpose)
    batch, sequence, count, depth = shape
    if perm not in (HEADS_FIRST, KEYS_LAST) or not isinstance(count, int) or not isinstance(depth, int):
        return None
    if count * depth != start[-1] or depth == 0:
        return None
    return Heads(reshape=reshape, transpose=transpose, leading=(batch, sequence), count=count, depth=depth, perm=perm)


def try_hoist(rewriter: Rewriter, split: ir.Node) -> bool:
    """Rules 1 and 2 for one Split."""
    heads = [h for output in split.outputs if (h := heads_of(rewriter.known, output)) is not None]
    if not _is_along_last(rewriter.known, split) or len(heads) < len(split.outputs) or len({h.key for h in heads}) != 1:
        return False
    if Heads.saved(heads) <= 0:
        return rewriter.refuse("moving the heads behind the Split would not save a node", split)
    first, counts = heads[0], [h.count for h in heads]
    shape = (*first.leading, sum(counts), first.depth)
    made = _reshaped(rewriter, split, shape, first.reshape, 2)
    if not made:
        return rewriter.refuse("the shape of the merged heads is not known", split)
    result = made[-1].outputs[0]
    transpose = rewriter.node("Transpose", [result], {"perm": list(HEADS_FIRST)}, dtype=result.dtype)
    outputs = [h.transpose.outputs[0] for h in heads]
    parts = rewriter.split(transpose.outputs[0], 1, counts, scope_of(split), outputs)
    made += [transpose, parts]
    values = dict(zip(outputs, parts.outputs, strict=True))
    for output, part, h in zip(outputs, parts.outputs, heads, strict=True):
        if h.perm == KEYS_LAST:
            rewriter.declare(part)
            made.append(rewriter.node("Transpose", [part], {"perm": [0, 1, 3, 2]}, like=output))
            values[output] = made[-1].outputs[0]
    old = [split, *(node for h in heads for node in (h.reshape, h.transpose))]
    return rewriter.replace(old, made, values)


def try_hoist_reshapes(rewriter: Rewriter, split: ir.Node) -> bool:
    """Rule 3 for one Split."""
    found = [node for output in split.outputs if (node := only_reader(output, "Reshape")) is not None]
    if not _is_along_last(rewriter.known, split) or len(found) < len(split.outputs):
        return False
    outputs = [node.outputs[0] for node in found]
    before, after = (
        [rewriter.known.shape(output) or () for output in split.outputs],
        [rewriter.known.shape(v) or () for v in outputs],
    )
    if any(not b or a[-1:] != b[-1:] for a, b in zip(after, before, strict=True)):
        return False
    leads, widths = {shape[:-1] for shape in after}, [size for shape in after if isinstance(size := shape[-1], int)]
    if len(leads) != 1 or len(widths) < len(after):
        return False
    (lead,) = leads
    made = _reshaped(rewriter, split, (*lead, sum(widths)), found[0], 1)
    if not made:
        return rewriter.refuse("the shape of the packed projection is not known", split)
    parts = rewriter.split(made[-1].outputs[0], -1, widths, scope_of(split), outputs)
    return rewriter.replace([split, *found], [*made, parts], dict(zip(outputs, parts.outputs, strict=True)))


def _is_along_last(shapes: SymbolicShapes, split: ir.Node) -> bool:
    start = shapes.shape(split.inputs[0])
    return start is not None and integer_attribute(split, "axis", 0) in (-1, len(start) - 1)


def _reshaped(rewriter: Rewriter, split: ir.Node, shape: tuple[Dim, ...], like: ir.Node, tail: int) -> list[ir.Node]:
    """What reshapes the input of `split` to `shape`, as the Reshape `like` does but for its last `tail` sizes.

    Empty where there is no such target.
    """
    whole, made = split.inputs[0], list[ir.Node]()
    target = target_for(rewriter.known, whole, shape, like, tail)
    if target is None or whole is None:
        return []
    sizes = put_target(rewriter, scope_of(split), target, shape[-tail:], made)
    return [*made, rewriter.node("Reshape", [whole, sizes], dtype=whole.dtype)]
