"""Whether two versions of one model are the same graph, and whether they keep the same interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes, op_counts, op_label


def interface(model: ir.Model) -> tuple[tuple[str, str, str, str], ...]:
    """The caller's contract: ("input" | "output", name, type, shape) of each graph input and output, in order."""
    rows = [("input", value) for value in model.graph.inputs] + [("output", value) for value in model.graph.outputs]
    return tuple((role, value.name or "", str(value.type), str(value.shape)) for role, value in rows)


def graphs_equal(left: ir.Model, right: ir.Model) -> bool:
    """Whether two models hold the same nodes in the same order, connected in the same way, over the same constants.

    Names of values and nodes inside the graph, metadata and value info do not count; names of graph inputs and
    outputs do. Tensors shared between the two models (as after `ir.Model.clone`) are equal without being read.
    """
    if dict(left.opset_imports) != dict(right.opset_imports) or interface(left) != interface(right):
        return False
    if left.functions.keys() != right.functions.keys() or len(left.graph.initializers) != len(right.graph.initializers):
        return False
    pairs: list[tuple[Any, Any]] = [(left.graph, right.graph)]
    pairs += [(function, right.functions[key]) for key, function in left.functions.items()]
    matched: dict[ir.Value, ir.Value] = {}
    return all(_scopes_equal(a, b, matched) for a, b in pairs)


def first_difference(left: ir.Model, right: ir.Model) -> str:
    """What `right` has instead of what `left` has, the first such thing in words; empty where they are equal."""
    if graphs_equal(left, right):
        return ""
    if dict(left.opset_imports) != dict(right.opset_imports):
        return f"opsets {dict(right.opset_imports)} instead of {dict(left.opset_imports)}"
    ports = [(a, b) for a, b in zip(interface(left), interface(right), strict=False) if a != b]
    if ports:
        expected, found = (" ".join(port) for port in ports[0])
        return f"{found} instead of {expected}"
    before, after = op_counts(left), op_counts(right)
    counts = [
        f"{op} {after.get(op, 0)} instead of {before.get(op, 0)}"
        for op in sorted(before.keys() | after.keys())
        if before.get(op) != after.get(op)
    ]
    if counts:
        return ", ".join(counts)
    for number, (a, b) in enumerate(zip(all_nodes(left), all_nodes(right), strict=False)):
        if op_label(a) != op_label(b):
            return f"node {number} is {op_label(b)} instead of {op_label(a)}"
        if (words := _node_difference(a, b)) != "":
            return f"{words} of {op_label(b)} {b.name or b.outputs[0].name!r} (node {number})"
    return "the same operators over the same constants, wired or ordered differently"


def _node_difference(left: ir.Node, right: ir.Node) -> str:
    """The first attribute or constant input that differs; empty where none does."""
    for name in sorted(left.attributes.keys() | right.attributes.keys()):
        a, b = left.attributes.get(name), right.attributes.get(name)
        if a is None or b is None or (a.type not in _NESTED and not _same_attribute(a, b, {})):
            return f"attribute {name!r}"
    for x, y in zip(left.inputs, right.inputs, strict=False):
        constants = [value is not None and value.is_initializer() for value in (x, y)]
        if all(constants) and x is not None and y is not None and not same_tensor(x.const_value, y.const_value):
            return f"constant {y.name!r}"
    return ""


_NESTED = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _scopes_equal(left: Any, right: Any, matched: dict[ir.Value, ir.Value]) -> bool:
    if len(getattr(left, "initializers", ())) != len(getattr(right, "initializers", ())):
        return False
    if len(left) != len(right) or not _match_all(left.inputs, right.inputs, matched):
        return False
    for a, b in zip(left, right, strict=True):
        if (a.domain, a.op_type, a.overload) != (b.domain, b.op_type, b.overload):
            return False
        if len(a.inputs) != len(b.inputs) or not _match_all(a.outputs, b.outputs, matched):
            return False
        if not all(_same_value(x, y, matched) for x, y in zip(a.inputs, b.inputs, strict=True)):
            return False
        # The plain dicts: the views of `attributes` itself are compared in Python, element by element.
        attributes, others = a.attributes.data, b.attributes.data
        if attributes.keys() != others.keys():
            return False
        if not all(_same_attribute(attributes[k], others[k], matched) for k in attributes):
            return False
    outputs = zip(left.outputs, right.outputs, strict=False)
    return len(left.outputs) == len(right.outputs) and all(_same_value(x, y, matched) for x, y in outputs)


def _match_all(left: Sequence[ir.Value], right: Sequence[ir.Value], matched: dict[ir.Value, ir.Value]) -> bool:
    if len(left) != len(right):
        return False
    matched.update(zip(left, right, strict=True))
    return True


def _same_value(left: ir.Value | None, right: ir.Value | None, matched: dict[ir.Value, ir.Value]) -> bool:
    if left is None or right is None:
        return left is right
    if left in matched:
        return matched[left] is right
    if not (left.is_initializer() and right.is_initializer()):
        return False
    matched[left] = right
    return same_tensor(left.const_value, right.const_value)


def same_tensor(left: ir.TensorProtocol | None, right: ir.TensorProtocol | None) -> bool:
    """Whether two tensors have the same dtype, shape and bytes; NaN payloads count as equal to themselves."""
    if left is right:
        return True
    if left is None or right is None or left.dtype != right.dtype or tuple(left.shape) != tuple(right.shape):
        return False
    if left.dtype == ir.DataType.STRING:
        return bool(np.array_equal(left.numpy(), right.numpy()))
    return left.tobytes() == right.tobytes()


def _same_attribute(left: ir.Attr, right: ir.Attr, matched: dict[ir.Value, ir.Value]) -> bool:
    if left is right and left.type not in _NESTED:  # shared by a clone
        return True
    if left.type != right.type or left.ref_attr_name != right.ref_attr_name:
        return False
    if left.is_ref():
        return True
    if left.type == ir.AttributeType.GRAPH:
        return _scopes_equal(left.as_graph(), right.as_graph(), matched)
    if left.type == ir.AttributeType.GRAPHS:
        a, b = left.as_graphs(), right.as_graphs()
        return len(a) == len(b) and all(_scopes_equal(x, y, matched) for x, y in zip(a, b, strict=True))
    if left.value is right.value:  # shared by a clone
        return True
    if left.type == ir.AttributeType.TENSOR:
        return same_tensor(left.as_tensor(), right.as_tensor())
    if left.type == ir.AttributeType.TENSORS:
        tensors, others = left.as_tensors(), right.as_tensors()
        return len(tensors) == len(others) and all(same_tensor(x, y) for x, y in zip(tensors, others, strict=True))
    return repr(left.value) == repr(right.value)  # repr: NaN equals NaN, 0.0 differs from -0.0
