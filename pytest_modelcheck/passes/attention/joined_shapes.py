"""Reshape targets that are joined at run time from sizes of the input and constants, with another end."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pytest_modelcheck.rewriting import Rewriter, Scope
from pytest_modelcheck.rewriting.matching import produced_by
from pytest_modelcheck.shapes.dims import Dim
from pytest_modelcheck.shapes.reshape_target import reshape_target
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

Target = tuple[int, ...] | tuple[ir.Value, ...]
"""The content of a Reshape target, or the values that it joins before its constant end."""


def target_for(
    shapes: SymbolicShapes, source: ir.Value | None, shape: Sequence[Dim], reshape: ir.Node, tail: int
) -> Target | None:
    """With what Reshape makes `shape` of `source`: constant, or joined as the target of `reshape` is.

    That target begins with the same sizes, and all but its last `tail` elements are taken from it.
    """
    constant = reshape_target(shapes.shape(source), shape)
    return constant if constant is not None else _leading_sizes(shapes, reshape, tail)


def put_target(rewriter: Rewriter, scope: Scope, target: Target, end: Sequence[Dim], made: list[ir.Node]) -> ir.Value:
    """`target` as a value; a Concat with `end` that is not there yet, in the graph or in `made`, is added to `made`."""
    leading = [value for value in target if isinstance(value, ir.Value)]
    if not leading:
        return rewriter.integers(scope, [size for size in target if isinstance(size, int)], "shape")
    numbers = [size for size in end if isinstance(size, int)]
    for node in (*made, *(use.node for use in leading[0].uses() if use.node.graph is scope)):
        if node.op_type == "Concat" and node.domain == "" and list(node.inputs[:-1]) == leading:
            tail = rewriter.constant(node.inputs[-1])
            if tail is not None and tail.tolist() == numbers:
                return node.outputs[0]
    constant = rewriter.integers(scope, numbers, "sizes")
    made.append(rewriter.node("Concat", [*leading, constant], {"axis": 0}, dtype=ir.DataType.INT64))
    return made[-1].outputs[0]


def _leading_sizes(shapes: SymbolicShapes, reshape: ir.Node, tail: int) -> tuple[ir.Value, ...] | None:
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
