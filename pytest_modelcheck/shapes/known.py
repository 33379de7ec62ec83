"""What the rules for shapes and contents may ask about the values that a node reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute, integers_attribute
from pytest_modelcheck.shapes.dims import Dim

Partial = Sequence[Dim | None] | None
"""A shape with None for a dimension about which a rule says nothing; None where the rank is not known."""


class Known(Protocol):
    """What the rules may ask; `symbolic_shapes.SymbolicShapes` answers."""

    opset: int

    def shape(self, value: ir.Value | None) -> tuple[Dim, ...] | None: ...
    def content(self, value: ir.Value | None) -> tuple[Dim, ...] | None: ...
    def constant_content(self, value: ir.Value | None) -> tuple[int, ...] | None: ...


def axis_of(node: ir.Node, rank: int, default: int | None = 0) -> int | None:
    """The axis of `node`, not negative; None where it is unknown, or the input has none such: the checker takes it."""
    axis = integer_attribute(node, "axis", default)
    return None if axis is None else next(iter(normalized([axis], rank) or ()), None)


def normalized(axes: Sequence[int], rank: int) -> tuple[int, ...] | None:
    """`axes` of a tensor of `rank`, none negative; None where one is not among its axes, or there twice."""
    found = tuple(axis % rank for axis in axes if -rank <= axis < rank)
    return found if len(set(found)) == len(axes) else None


def axes_of(node: ir.Node, known: Known, index: int = 1) -> tuple[int, ...] | None:
    """The axes of Squeeze, Unsqueeze or a reduction, attribute or input: () where absent, None where unknown."""
    if "axes" in node.attributes:
        return integers_attribute(node, "axes")
    if len(node.inputs) <= index or node.inputs[index] is None:
        return ()
    return known.constant_content(node.inputs[index])
