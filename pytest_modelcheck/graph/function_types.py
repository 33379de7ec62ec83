"""Types and shapes inside a model's functions, which ONNX shape inference leaves unknown.

A function declares none: its values have those that its calls give them. Where all calls of a function agree, its body
is inferred like a graph with these inputs; what they do not agree on stays unknown. Functions that take attributes are
left out: their nodes cannot be inferred without the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.kernel_sizes import inferred_with_kernel_sizes

_MAX_BYTES = 64 * 1024 * 1024
"""Functions with more constants are left out: they would have to be copied to be inferred."""

MergeInferred = Callable[[ir.Function, onnx.GraphProto], None]


def infer_functions(model: ir.Model, merge: MergeInferred) -> None:
    """Fill in types and shapes of the values of every function that is called, callers before the called.

    Args:
        model: Edited in place.
        merge: Takes the inferred types over: (function, graph with the same nodes).
    """
    if not model.functions:
        return
    calls_of = _calls(model)
    for identifier in _callers_first(model):
        function, calls = model.functions[identifier], calls_of[identifier]
        if not calls or function.attributes or _has_references(function):
            continue
        for index, value in enumerate(function.inputs):
            given = [call.inputs[index] if index < len(call.inputs) else None for call in calls]
            _agree(value, given)
        inferred = _inferred(function, model.ir_version)
        if inferred is not None:
            merge(function, inferred)


def _callers_first(model: ir.Model) -> list[ir.OperatorIdentifier]:
    ordered: list[ir.OperatorIdentifier] = []
    visited: set[ir.OperatorIdentifier] = set()

    def visit(identifier: ir.OperatorIdentifier) -> None:
        if identifier in visited:
            return
        visited.add(identifier)
        for node in model.functions[identifier].all_nodes():
            if node.op_identifier() in model.functions:
                visit(node.op_identifier())
        ordered.append(identifier)

    for identifier in model.functions:
        visit(identifier)
    return ordered[::-1]


def _calls(model: ir.Model) -> dict[ir.OperatorIdentifier, list[ir.Node]]:
    calls: dict[ir.OperatorIdentifier, list[ir.Node]] = {identifier: [] for identifier in model.functions}
    scopes: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for scope in scopes:
        for node in scope.all_nodes():
            if node.op_identifier() in calls:
                calls[node.op_identifier()].append(node)
    return calls


def _has_references(function: ir.Function) -> bool:
    return any(attribute.is_ref() for node in function.all_nodes() for attribute in node.attributes.values())


def _agree(value: ir.Value, given: Sequence[ir.Value | None]) -> None:
    """Give `value` the type and the sizes that all of `given` have."""
    present = [other for other in given if other is not None]
    types = {other.type for other in present}
    if len(present) < len(given) or len(types) != 1 or None in types:
        value.type = value.shape = None
        return
    value.type = present[0].type
    shapes = [other.shape for other in present if other.shape is not None]
    if len(shapes) < len(present) or len({len(shape) for shape in shapes}) != 1:
        value.shape = None
        return
    value.shape = ir.Shape([dims[0] if len(set(dims)) == 1 else None for dims in zip(*shapes, strict=True)])


def _inferred(function: ir.Function, ir_version: int) -> onnx.GraphProto | None:
    constants = [constant_tensor(node.outputs[0]) for node in function if node.op_type == "Constant"]
    if sum(tensor.nbytes for tensor in constants if tensor is not None) > _MAX_BYTES:
        return None
    inputs = []
    for value in function.inputs:
        if value.type is None or value.name is None:
            return None
        inputs.append(ir.serde.serialize_value(value))
    nodes = [ir.serde.serialize_node(node) for node in function]
    outputs = [onnx.ValueInfoProto(name=value.name) for value in function.outputs]
    graph = onnx.helper.make_graph(nodes, function.name, inputs, outputs)
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in function.opset_imports.items()]
    proto = onnx.helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    try:
        made = inferred_with_kernel_sizes(proto)
    except (onnx.shape_inference.InferenceError, ValueError):
        return None
    return made.graph
