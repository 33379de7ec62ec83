"""ONNX shape inference with the values of small integer tensors, where that is small work.

Where an operator computes with a 1-d tensor of known length, onnx 1.23 writes one dimension for each of its elements:
150 bytes of memory for each, in every operator. An Expand to 10 Mi elements with 20 Adds behind it, a file of 1.4 kB,
takes 3.6 GB. Shapes are a few elements long. A length that the graph computes from values is not seen beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

_MOST_ELEMENTS = 2**20
"""Of all 1-d tensors together: 150 MB."""


def infer_with_values(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`onnx.shape_inference.infer_shapes` with data propagation; without it where 1-d tensors are too long.

    Raises:
        onnx.shape_inference.InferenceError: as it does.
        ValueError: as it does.
    """
    content = proto.SerializeToString()
    plain = _inferred(content, data_prop=False)
    if sum(_lengths(plain.graph)) > _MOST_ELEMENTS:
        return plain
    return _inferred(content, data_prop=True)


def _inferred(content: bytes, *, data_prop: bool) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(content, check_type=False, strict_mode=False, data_prop=data_prop)


def _lengths(graph: onnx.GraphProto) -> Iterator[int]:
    """The lengths of the 1-d values, as far as they are known."""
    for value in (*graph.value_info, *graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if len(dims) == 1:
            yield dims[0].dim_value
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _lengths(attribute.g)
