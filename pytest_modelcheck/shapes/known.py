"""What the rules for shapes and contents may ask about the values that a node reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.shapes.dims import Dim

Partial = Sequence[Dim | None] | None
"""A shape with None for a dimension about which a rule says nothing; None where the rank is not known."""


class Known(Protocol):
    """What the rules may ask; `symbolic_shapes.SymbolicShapes` answers."""

    opset: int

    def shape(self, value: ir.Value | None) -> tuple[Dim, ...] | None: ...
    def content(self, value: ir.Value | None) -> tuple[Dim, ...] | None: ...
    def constant_content(self, value: ir.Value | None) -> tuple[int, ...] | None: ...


def axes_of(node: ir.Node, known: Known, index: int = 1) -> tuple[int, ...] | None:
    """The axes of Squeeze, Unsqueeze or a reduction, attribute or input: () where absent, None where unknown."""
    if "axes" in node.attributes:
        return integers_attribute(node, "axes")
    if len(node.inputs) <= index or node.inputs[index] is None:
        return ()
    return known.constant_content(node.inputs[index])
