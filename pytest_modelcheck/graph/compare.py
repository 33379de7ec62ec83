"""Whether two versions of one model are the same graph, and whether they keep the same interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir


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
        if a.attributes.keys() != b.attributes.keys():
            return False
        if not all(_same_attribute(a.attributes[k], b.attributes[k], matched) for k in a.attributes):
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
