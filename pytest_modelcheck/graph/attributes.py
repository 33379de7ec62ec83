"""Reading single attributes of a node.

An attribute may refer to one of the function that the node is part of: what it is, only the caller of the function
knows. That is never the default: integers and texts are None then, floats NaN, which equals nothing.
"""

from __future__ import annotations

import math

import onnx_ir as ir


def integer_attribute(node: ir.Node, name: str, default: int | None) -> int | None:
    """An INT attribute; `default` where it is absent, None where it refers to an attribute of the function."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else attribute.as_int()


def integers_attribute(node: ir.Node, name: str, default: tuple[int, ...] | None = None) -> tuple[int, ...] | None:
    """An INTS attribute; `default` where it is absent, None where it refers to an attribute of the function."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else tuple(attribute.as_ints())


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A FLOAT attribute; `default` where it is absent, NaN where it refers to an attribute of the function."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return math.nan if attribute.is_ref() else attribute.as_float()


def text_attribute(node: ir.Node, name: str, default: str) -> str | None:
    """A STRING attribute; `default` where it is absent, None where it refers to an attribute of the function."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else attribute.as_string()


def has_reference_attributes(node: ir.Node) -> bool:
    """Whether an attribute of `node` is set by the caller of the function it is part of, and so is not known here."""
    return any(attribute.is_ref() for attribute in node.attributes.values())
