"""A model as a `ModelProto` without metadata: what the checker and shape inference read, in a third of the time.

``onnx_ir.to_proto`` takes a fifth of the whole attribution for it: every field goes through a handler of errors, and
thousands of values have the same few types.
"""

from __future__ import annotations

import functools

import onnx
import onnx_ir as ir

_NESTED = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def plain_proto(model: ir.Model) -> onnx.ModelProto:
    """`model` without the metadata and documentation of its graph and nodes.

    Raises:
        ValueError: The model cannot be written.
    """
    if model.functions:
        return ir.to_proto(model)  # rare
    proto = onnx.ModelProto(ir_version=model.ir_version)
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    try:
        _write_graph(proto.graph, model.graph)
    except (AttributeError, TypeError):  # a value without a name, an unknown type: said there in words
        return ir.to_proto(model)
    return proto


def _write_graph(proto: onnx.GraphProto, graph: ir.Graph) -> None:
    if graph.name:
        proto.name = graph.name
    for value in graph.inputs:
        write_value(proto.input.add(), value)
    inputs = {value.name for value in graph.inputs}
    for value in graph.initializers.values():
        if value.const_value is None:
            continue
        write_tensor(proto.initializer.add(), value)
        if value.name not in inputs and _is_described(value):
            write_value(proto.value_info.add(), value)
    for node in graph:
        write_node(proto.node.add(), node)
        for value in node.outputs:
            if not value.is_graph_output() and _is_described(value):
                write_value(proto.value_info.add(), value)
    for value in graph.outputs:
        write_value(proto.output.add(), value)


def _is_described(value: ir.Value) -> bool:
    return bool(value.name) and value.type is not None


def write_tensor(proto: onnx.TensorProto, value: ir.Value) -> None:
    """The content of an initializer, under its name."""
    assert value.const_value is not None
    value.const_value.name = value.name
    ir.serde.serialize_tensor_into(proto, value.const_value)


def write_node(proto: onnx.NodeProto, node: ir.Node) -> None:
    """A node without its metadata."""
    if any(attribute.type in _NESTED for attribute in node.attributes.data.values()):
        ir.serde.serialize_node_into(proto, node)
        return
    proto.op_type = node.op_type
    if node.domain:
        proto.domain = node.domain
    if node.name:
        proto.name = node.name
    if node.overload:
        proto.overload = node.overload
    proto.input.extend(["" if value is None else value.name for value in node.inputs])
    outputs = [value.name for value in node.outputs]
    while outputs and not outputs[-1]:
        outputs.pop()
    proto.output.extend(outputs)
    for attribute in node.attributes.data.values():
        if attribute.is_ref():
            ir.serde.serialize_reference_attribute_into(proto.attribute.add(), attribute)
        else:
            ir.serde.serialize_attribute_into(proto.attribute.add(), attribute)


def write_value(proto: onnx.ValueInfoProto, value: ir.Value) -> None:
    """The name of a value, and what is known of its type and shape.

    Raises:
        TypeError: It has no name.
    """
    if value.name is None:
        raise TypeError("a value has no name")
    proto.name = value.name
    type_, shape = value.type, value.shape
    if type(type_) is ir.TensorType and not type_.denotation:
        dims = None if shape is None else tuple(dim if isinstance(dim, int) else dim.value for dim in shape)
        proto.type.CopyFrom(_tensor_type(type_.dtype, dims))
    elif type_ is not None:
        ir.serde.serialize_value_into(proto, value)


@functools.lru_cache(maxsize=4096)
def _tensor_type(dtype: ir.DataType, dims: tuple[int | str | None, ...] | None) -> onnx.TypeProto:
    if dims is None:
        return onnx.helper.make_tensor_type_proto(int(dtype), None)
    return onnx.helper.make_tensor_type_proto(int(dtype), dims)
