"""What the rules for shapes and contents may ask about the values that a node reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import onnx_ir as ir

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
    attribute = node.attributes.get("axes")
    if attribute is not None:
        return None if attribute.is_ref() else tuple(attribute.as_ints())
    if len(node.inputs) <= index or node.inputs[index] is None:
        return ()
    return known.constant_content(node.inputs[index])
