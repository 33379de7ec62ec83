"""What the rules for shapes and contents may ask about a node and the values that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute, integers_attribute
from pytest_modelcheck.shapes.dims import Dim

T = TypeVar("T")

Shape = tuple[Dim, ...]

Partial = Sequence[Dim | None] | None
"""A shape with None for a dimension about which a rule says nothing; None where the rank is not known."""


class Unknown(Exception):  # noqa: N818 - an answer, not an error
    """What a rule has asked for is not known: it says nothing about the output."""


class Known(Protocol):
    """What is known about values; `symbolic_shapes.SymbolicShapes` answers."""

    opset: int

    def shape(self, value: ir.Value | None) -> Shape | None: ...
    def content(self, value: ir.Value | None) -> Shape | None: ...
    def constant_content(self, value: ir.Value | None) -> tuple[int, ...] | None: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about `node`. Whatever is asked for and is not known raises `Unknown`."""

    node: ir.Node
    known: Known

    def value(self, index: int) -> ir.Value | None:
        """An input, None where it is omitted."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def shape(self, index: int = 0) -> Shape:
        """The dimensions of an input."""
        return fact(self.known.shape(self.value(index)))

    def content(self, index: int = 0) -> Shape:
        """The elements of an input."""
        return fact(self.known.content(self.value(index)))

    def numbers(self, index: int = 0) -> tuple[int, ...]:
        """The elements of an input, all of them numbers."""
        return fact(self.known.constant_content(self.value(index)))

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute."""
        return fact(integer_attribute(self.node, name, default))

    def axis(self, rank: int, default: int | None = 0) -> int:
        """The axis of a tensor of `rank`, not negative. The checker takes one that no tensor of the rank has."""
        return normalized([self.integer("axis", default)], rank)[0]

    def axes(self, index: int = 1) -> tuple[int, ...]:
        """The axes of Squeeze, Unsqueeze or a reduction, attribute or input; () where absent."""
        if "axes" in self.node.attributes:
            return fact(integers_attribute(self.node, "axes"))
        return () if self.value(index) is None else self.numbers(index)


def fact(answer: T | None) -> T:
    """`answer`, which is there.

    Raises:
        Unknown: where it is None.
    """
    if answer is None:
        raise Unknown
    return answer


def normalized(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """`axes` of a tensor of `rank`, none negative.

    Raises:
        Unknown: where one is not among its axes, or there twice.
    """
    found = tuple(axis % rank for axis in axes if -rank <= axis < rank)
    if len(set(found)) < len(axes):
        raise Unknown
    return found
