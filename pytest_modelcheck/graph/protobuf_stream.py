"""Writing a model as one protobuf without holding it as one.

``SerializeToString`` needs a message that holds a copy of every weight, and makes another copy of the whole. A protobuf
is a sequence of fields, each a tag, a length and its content, and the fields of a message may come in any order: so
everything but the large weights is serialised as usual, and the weights are appended to the graph one at a time.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.scopes import graphs

_PLACEHOLDER = np.empty(0, np.float32)

SMALL_TENSOR_BYTES = 1024
"""Up to here a tensor is serialised with the rest of the graph: shape inference reads the shapes, axes and bounds that
operators take as inputs, and onnxruntime cannot load a model where such a tensor lies in another file."""


def _tag(message: type, field: str) -> bytes:
    length_delimited = 2
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | length_delimited)  # type: ignore[attr-defined]


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)


_GRAPH = _tag(onnx.ModelProto, "graph")
_INITIALIZER = _tag(onnx.GraphProto, "initializer")
_RAW_DATA = _tag(onnx.TensorProto, "raw_data")


def write_model(model: ir.Model, stream: BinaryIO) -> None:
    """Write `model`, all its weights inside, as the ``ModelProto`` that onnx would write but for the order of fields.

    Beside the model it takes the memory of its largest tensor. Weights that lie in other files are read from there.

    Raises:
        ValueError: if a tensor has other data than its type and shape say.
    """
    proto, tensors = _without_large_tensors(model)
    small = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    heads = [
        _length_delimited(_INITIALIZER, initializer.SerializeToString()) if tensor is None else _head(tensor)
        for initializer, tensor in zip(small, tensors, strict=True)
    ]
    size = len(graph) + sum(map(len, heads)) + sum(tensor.nbytes for tensor in tensors if tensor is not None)
    stream.write(proto.SerializeToString())
    stream.write(_GRAPH + _varint(size))
    stream.write(graph)
    for head, tensor in zip(heads, tensors, strict=True):
        stream.write(head)
        if tensor is not None:
            stream.write(_data(tensor))


def _head(tensor: ir.TensorProtocol) -> bytes:
    """The initializer up to where its data begins, which are the last ``tensor.nbytes`` bytes of it."""
    proto = onnx.TensorProto(name=tensor.name, data_type=tensor.dtype.value, dims=tensor.shape.numpy())
    if tensor.doc_string:
        proto.doc_string = tensor.doc_string
    for key, value in tensor.metadata_props.items():
        proto.metadata_props.add(key=key, value=value)
    content: bytes = proto.SerializeToString() + _RAW_DATA + _varint(tensor.nbytes)
    return _INITIALIZER + _varint(len(content) + tensor.nbytes) + content


def _data(tensor: ir.TensorProtocol) -> bytes:
    data: bytes = tensor.tobytes()
    if len(data) != tensor.nbytes:
        raise ValueError(f"initializer {tensor.name!r} has {len(data)} bytes of data, not {tensor.nbytes}")
    return data


def _length_delimited(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


def _without_large_tensors(model: ir.Model) -> tuple[onnx.ModelProto, list[ir.TensorProtocol | None]]:
    """The model with a placeholder for each large initializer, and per initializer what belongs there, or None.

    `model` is changed for as long as it takes to serialise it, and put back.
    """
    values = [value for value in model.graph.initializers.values() if value.const_value is not None]
    tensors: list[ir.TensorProtocol | None] = []
    inside = list(_external_inside(model))
    try:
        for value in values:
            tensor = value.const_value
            large = tensor is not None and tensor.dtype != ir.DataType.STRING and tensor.nbytes > SMALL_TENSOR_BYTES
            tensors.append(tensor if large else None)
            if tensor is not None and large:
                tensor.name = value.name
                value.const_value = ir.Tensor(_PLACEHOLDER, name=value.name)
        for value, tensor in inside:
            value.const_value = ir.tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
        return ir.to_proto(model), tensors
    finally:
        for value, original in (*zip(values, tensors, strict=False), *inside):
            if original is not None:
                value.const_value = original


def _external_inside(model: ir.Model) -> Iterator[tuple[ir.Value, ir.ExternalTensor]]:
    """Initializers of subgraphs, and small ones of the graph, whose data lies in another file."""
    for graph in graphs(model):
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                if graph is model.graph and tensor.nbytes > SMALL_TENSOR_BYTES:
                    continue
                yield value, tensor
