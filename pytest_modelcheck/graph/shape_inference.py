"""Types and shapes of intermediate values by ONNX shape inference, without serialising the weights."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.function_types import infer_functions
from pytest_modelcheck.graph.kernel_sizes import inferred_with_kernel_sizes
from pytest_modelcheck.graph.plain_proto import plain_proto
from pytest_modelcheck.graph.schema_types import declare_fixed_types
from pytest_modelcheck.graph.scopes import graphs

SMALL_TENSOR_BYTES = 1024  # onnx_ir hands tensors of up to 1000 bytes to the C++ API

_OF_SUBGRAPH = "modelcheck.of_subgraph."
"""How the names of inputs begin that stand for weights of subgraphs."""


def infer_shapes(model: ir.Model) -> list[ir.Value]:
    """Fill in types and shapes of intermediate values in place, as far as ONNX shape inference gets.

    Declared shapes of graph inputs and outputs are the caller's contract and stay as they were. Values whose shape
    cannot be inferred keep what they had; passes refuse what they cannot prove.

    Returns:
        The values of which more, or something else, is known now.
    """
    read_small_tensors(model)
    declare_fixed_types(model)
    try:
        proto = without_large_weights(model)
    except ValueError:
        return []  # an invalid model is the checker's to report
    return infer(model, proto)


def infer(model: ir.Model, proto: onnx.ModelProto) -> list[ir.Value]:
    """`infer_shapes`, where `proto` is `model` as `without_large_weights` writes it. `proto` is used up."""
    for output in proto.graph.output:
        # An exporter writes the sizes of its example here, dynamic or not: nothing may be inferred from them.
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    try:
        inferred = inferred_with_kernel_sizes(proto)
    except (onnx.shape_inference.InferenceError, ValueError):
        return []  # an invalid model is the checker's to report
    changed = _merge_inferred(model.graph, inferred.graph, keep_outputs=True)
    if model.functions:
        infer_functions(model, lambda function, proto: changed.extend(_merge_inferred(function, proto)))
        changed += [value for function in model.functions.values() for value in function.inputs]
    return changed


def _merge_inferred(
    graph: ir.Graph | ir.Function, proto: onnx.GraphProto, *, keep_outputs: bool = False
) -> list[ir.Value]:
    """Take types and shapes of node outputs over from `proto`, which has the same nodes in the same order.

    Returns:
        The values of which it says something new.
    """
    changed: list[ir.Value] = []
    inferred = {info.name: info for info in proto.value_info}
    if not keep_outputs:
        inferred.update({info.name: info for info in proto.output})
    for node, node_proto in zip(graph, proto.node, strict=True):
        changed += merge_node(node, inferred, keep_outputs=keep_outputs)
        for attribute in node_proto.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                changed += _merge_inferred(node.attributes[attribute.name].as_graph(), attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                graphs = node.attributes[attribute.name].as_graphs()
                for inner, inner_proto in zip(graphs, attribute.graphs, strict=True):
                    changed += _merge_inferred(inner, inner_proto)
    return changed


def merge_node(
    node: ir.Node, inferred: Mapping[str, onnx.ValueInfoProto], *, keep_outputs: bool = True
) -> list[ir.Value]:
    """Take types and shapes of the outputs of `node` over; the values of which that says something new.

    Args:
        keep_outputs: Leave what is declared of outputs of the graph.
    """
    changed = []
    for value in node.outputs:
        known = inferred.get(value.name or "")
        if known is None or (keep_outputs and value.is_graph_output()):
            continue
        type_, shape = _read(known.type.SerializeToString())
        # The whole type: a dtype alone would make a tensor of a sequence whose type was not known.
        if type_ is not None and type_ != value.type:
            value.type = _own(type_, known.type)
            changed.append(value)
        if shape is not None and shape != value.shape:
            value.shape = shape.copy()
            changed.append(value)
    return changed


def _own(type_: ir.TypeProtocol, proto: onnx.TypeProto) -> ir.TypeProtocol | None:
    """`type_`, which is that of `proto`, as an object that may be edited in place."""
    if isinstance(type_, ir.TensorType):
        return ir.TensorType(type_.dtype, denotation=type_.denotation)
    return ir.serde.deserialize_type_proto_for_type(proto)


@functools.lru_cache(maxsize=4096)
def _read(content: bytes) -> tuple[ir.TypeProtocol | None, ir.Shape | None]:
    """A serialised ``TypeProto``, read once: thousands of values have the same few, and reading is slow."""
    proto = onnx.TypeProto.FromString(content)
    return ir.serde.deserialize_type_proto_for_type(proto), ir.serde.deserialize_type_proto_for_shape(proto)


def without_large_weights(model: ir.Model) -> onnx.ModelProto:
    """The model with large initializers as inputs of the main graph: what is in them says nothing about shapes.

    `model` is changed for as long as it takes to write it, and put back.
    """
    weights = {graph: dict(graph.initializers) for graph in graphs(model)}
    inputs = len(model.graph.inputs)
    inner: list[tuple[ir.Value, str | None, ir.TensorProtocol]] = []
    try:
        for graph, initializers in weights.items():
            for name, value in initializers.items():
                tensor = value.const_value
                if tensor is None or tensor.nbytes <= SMALL_TENSOR_BYTES:
                    continue
                value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
                del graph.initializers[name]
                if graph is not model.graph:  # its name may be used again beside it
                    inner.append((value, value.name, tensor))
                    value.const_value, value.name = None, f"{_OF_SUBGRAPH}{len(inner)}"
                if not value.is_graph_input():
                    model.graph.inputs.append(value)
        proto = plain_proto(model)
    finally:
        while len(model.graph.inputs) > inputs:
            model.graph.inputs.pop()  # deleting a slice leaves values that still say they are inputs (onnx_ir 1.1)
        for value, old, tensor in inner:
            value.name, value.const_value = old, tensor
        for graph, initializers in weights.items():
            if len(graph.initializers) < len(initializers):
                graph.initializers.clear()
                for value in initializers.values():
                    graph.register_initializer(value)
    return proto


def read_small_tensors(model: ir.Model) -> None:
    """Take small external tensors into memory.

    The onnx C++ API gets a model without its large initializers; small ones that still lie in a file it would look
    for in the working directory, and fail.
    """
    for graph in graphs(model):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= SMALL_TENSOR_BYTES:
                value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=name)
