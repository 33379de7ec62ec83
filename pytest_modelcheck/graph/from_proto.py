"""A model from its protobuf message, which stays as it is; what onnx_ir does not read is refused by name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph.counts import all_nodes, nodes_within

MOST_NODES = 150_000
"""A node takes 2.6 kB, whatever it takes in the file. The largest exports that we know have 10,000."""


def model_from_proto(proto: onnx.ModelProto, *, what: str = "model", sort: bool = True) -> ir.Model:
    """Read `proto`; its weights are shared, and passes that rename them do not rename them there.

    Args:
        proto: Stays as it is.
        what: How an error calls it.
        sort: Take nodes in any order.

    Raises:
        InvalidModelError: for maps (the ZipMap of classifiers), for sparse tensors, and for more than `MOST_NODES`.
    """
    refuse_unreadable(proto, what=what)
    model = in_order(proto) if sort else ir.from_proto(proto)
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.TensorProtoTensor):
                value.const_value = _with_its_own_name(value.const_value)
    for node in all_nodes(model):
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.TensorProtoTensor):
                node.attributes[name] = ir.AttrTensor(name, _with_its_own_name(attribute.value))
    return model


def in_order(proto: onnx.ModelProto) -> ir.Model:
    """`proto` as onnx_ir reads it, its nodes sorted where they are not: onnxruntime runs such files, too."""
    model = ir.from_proto(proto)
    scopes: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for scope in scopes:
        if _reads_ahead(nodes_within(scope)):
            with contextlib.suppress(ValueError):  # a cycle is the checker's to report
                scope.sort()
    return model


def _reads_ahead(nodes: Iterable[ir.Node]) -> bool:
    behind: set[ir.Node] = set()
    for node in nodes:
        producers = (value.producer() for value in node.inputs if value is not None)
        if any(producer is not None and producer not in behind for producer in producers):
            return True
        behind.add(node)
    return False


def refuse_unreadable(proto: onnx.ModelProto, *, what: str) -> None:
    """Raises InvalidModelError, naming the value or node, for a model that onnx_ir does not read."""
    nodes = _count(proto.graph.node) + sum(_count(function.node) for function in proto.functions)
    if nodes > MOST_NODES:
        raise InvalidModelError(f"{what} cannot be read: it has {nodes:,} nodes, and at most {MOST_NODES:,} are read")
    for obstacle in (*_not_utf8(proto), *_obstacles(proto.graph)):
        raise InvalidModelError(f"{what} cannot be read: {obstacle}")


def _not_utf8(proto: onnx.ModelProto) -> Iterator[str]:
    """Texts of the model that protobuf hands out as bytes; names inside its graph do not pass the checker."""
    for field in ("producer_name", "producer_version", "domain", "doc_string"):
        if isinstance(getattr(proto, field), bytes):
            yield f"its {field} is not UTF-8"
    for held in (proto, *_with_metadata(proto.graph), *(part for f in proto.functions for part in _with_metadata(f))):
        for item in held.metadata_props:
            if isinstance(item.key, bytes) or isinstance(item.value, bytes):
                yield f"metadata {item.key!r} is not UTF-8"


def _with_metadata(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[Any]:
    yield from (graph, *graph.node, *graph.value_info)
    if isinstance(graph, onnx.GraphProto):
        yield from (*graph.input, *graph.output, *graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _with_metadata(attribute.g)


def _count(nodes: Sequence[onnx.NodeProto]) -> int:
    """Nodes, those of subgraphs among them."""
    inner = sum(_count(a.g.node) for node in nodes for a in node.attribute if a.type == onnx.AttributeProto.GRAPH)
    return len(nodes) + inner


def _with_its_own_name(tensor: ir.TensorProtoTensor) -> ir.TensorProtocol:
    """The same tensor, under a name that is not the message's."""
    return ir.LazyTensor(
        lambda: tensor,
        dtype=tensor.dtype,
        shape=tensor.shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def _obstacles(graph: onnx.GraphProto) -> Iterator[str]:
    for tensor in graph.sparse_initializer:
        yield f"initializer {tensor.values.name!r} is sparse; write it as a dense tensor"
    for value in (*graph.input, *graph.output, *graph.value_info):
        if _holds_a_map(value.type):
            yield f"value {value.name!r} is a map; take the tensors before it (of a ZipMap: its input) as outputs"
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
                made = node.name or next((name for name in node.output if name), node.op_type)
                yield f"attribute {attribute.name!r} of node {made!r} is sparse; write it as a dense tensor"
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _obstacles(attribute.g)


def _holds_a_map(type_: onnx.TypeProto) -> bool:
    if type_.HasField("sequence_type"):
        return _holds_a_map(type_.sequence_type.elem_type)
    if type_.HasField("optional_type"):
        return _holds_a_map(type_.optional_type.elem_type)
    return bool(type_.HasField("map_type"))
