"""Reshape targets that are joined at run time from sizes of the input and constants, with another end."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pytest_modelcheck.rewriting.matching import produced_by
from pytest_modelcheck.rewriting.rewriter import Rewriter, Scope
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes


def leading_sizes(shapes: SymbolicShapes, reshape: ir.Node, tail: int) -> tuple[ir.Value, ...] | None:
    """What the Concat that is the target of `reshape` joins before its last `tail` elements; None where it is none."""
    joined = produced_by(reshape.inputs[1], "Concat")
    if joined is None:
        return None
    kept, dropped = list(joined.inputs), 0
    while kept and dropped < tail:
        content = shapes.content(kept.pop())
        if content is None:
            return None
        dropped += len(content)
    values = tuple(value for value in kept if value is not None)
    return values if values and dropped == tail and len(values) == len(kept) else None


def joined_target(rewriter: Rewriter, scope: Scope, leading: Sequence[ir.Value], end: Sequence[int]) -> ir.Node:
    """The Concat of `leading` and the constant `end`: one that is there already, or a new one in no graph yet."""
    for use in leading[0].uses():
        node = use.node
        if node.op_type == "Concat" and node.graph is scope and tuple(node.inputs[:-1]) == tuple(leading):
            tail = rewriter.constant(node.inputs[-1])
            if tail is not None and tail.tolist() == list(end):
                return node
    constant = rewriter.integers(scope, end, "sizes")
    return rewriter.node("Concat", [*leading, constant], {"axis": 0}, dtype=ir.DataType.INT64)
