"""``Slice(x, [:a]), Slice(x, [a:b]), Slice(x, [b:])`` along one axis -> ``Split(x, [a, b - a, ...])``.

Halves of rotary positions, gates of recurrent cells and packed projections are such. Where the pieces make up the axis
exactly, and its size is a number; of floats: parts of shapes become constants. Source: https://onnx.ai/onnx/operators/onnx__Split.html
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import FLOATS, scope_of
from pytest_modelcheck.shapes.known import Facts, Unknown
from pytest_modelcheck.shapes.slices import slice_bounds

SPLIT = "Slices of a whole axis"


def split_instead_of_slices(rewriter: Rewriter) -> None:
    """One Split wherever Slices take a value apart."""
    rewriter.begin_rule(SPLIT)
    tried: set[tuple[ir.Value, int]] = set()
    for node in rewriter.nodes("Slice"):
        rewriter.known.refresh()
        if (piece := _piece(rewriter, node)) is not None and (key := (piece[0], piece[1])) not in tried:
            tried.add(key)
            _try_split(rewriter, node, *key)


def _piece(rewriter: Rewriter, node: ir.Node) -> tuple[ir.Value, int, int, int] | None:
    """What the Slice `node` takes of which value: axis, start and end; None where it is not a part of one axis."""
    source = node.inputs[0]
    try:
        facts = Facts(node, rewriter.known)
        shape, bounds = facts.shape(), slice_bounds(facts)
    except Unknown:
        return None
    if source is None or source.dtype not in FLOATS or len(bounds) != 1:
        return None
    ((axis, (start, end, step)),) = bounds.items()
    size = shape[axis]
    if not isinstance(size, int) or not isinstance(start, int) or not isinstance(end, int) or step != 1:
        return None
    taken = range(size)[start:end]
    return (source, axis, taken.start, taken.stop) if 0 < len(taken) < size else None


def _try_split(rewriter: Rewriter, first: ir.Node, source: ir.Value, axis: int) -> bool:
    pieces: dict[tuple[int, int], list[ir.Node]] = {}
    for user, _ in source.uses():
        piece = _piece(rewriter, user) if user.op_type == "Slice" and user.domain == "" else None
        if piece is not None and user.graph is first.graph and piece[:2] == (source, axis):
            pieces.setdefault(piece[2:], []).append(user)
    ordered = sorted(pieces)
    if len(ordered) < 2:
        return False
    ends = [0, *(end for _, end in ordered)]
    if ends[:-1] != [start for start, _ in ordered] or ends[-1] != (rewriter.known.shape(source) or ())[axis]:
        return rewriter.refuse("the Slices do not make up their axis", first)
    nodes = [pieces[piece] for piece in ordered]
    likes = [same[0].outputs[0] for same in nodes]
    split = rewriter.split(source, axis, [end - start for start, end in ordered], scope_of(first), likes)
    old = [node for same in nodes for node in same]
    values = {node.outputs[0]: part for same, part in zip(nodes, split.outputs, strict=True) for node in same}
    # Put where the first of them is: what reads it may stand before the last one.
    behind = [node for node in old if node is not first]
    return rewriter.replace([*behind, first], [split], values, metadata_from=old)
