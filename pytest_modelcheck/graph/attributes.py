"""Reading single attributes of a node."""

from __future__ import annotations

import onnx_ir as ir


def integer_attribute(node: ir.Node, name: str, default: int | None) -> int | None:
    """An INT attribute; `default` where it is absent, None where it refers to an attribute of the function."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else attribute.as_int()


def text_attribute(node: ir.Node, name: str, default: str) -> str | None:
    """A STRING attribute; `default` where it is absent, None where it refers to an attribute of the function."""
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return None if attribute.is_ref() else attribute.as_string()
