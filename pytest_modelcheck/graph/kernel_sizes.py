"""Sizes that ONNX shape inference computes differently from kernels.

- A pool with ``ceil_mode``: below opset 22 inference counts a last window that begins in the end padding; onnxruntime,
  torch, and the standard from opset 22 on do not.
- ``Resize`` by scales: the size is the floor of a product. Kernels compute it in single precision, where 10 * 0.7 is 7;
  inference gets 6.9999998.
- A ``Slice`` of a shape tensor whose bounds are not known: inference takes an unknown bound for 0 (onnx 1.23), and says
  that ``Shape(x)[start:2]`` has two elements, the first two. A constant of the graph around it is not known either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from pytest_modelcheck.graph.bounded_inference import infer_with_values

HIDDEN = "modelcheck.hidden"
"""Domain of a node that inference must not compute; its outputs are declared instead."""

_CROPS = "tf_crop_and_resize"
"""A mode in which the region of interest counts, too."""

_POOLS = ("AveragePool", "LpPool", "MaxPool")

_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)

KERNEL_SIZED = (*_POOLS, "Resize", "Upsample")


def inferred_with_kernel_sizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """`proto` with what inference says, sizes as kernels make them. `proto` is used up.

    Raises:
        onnx.shape_inference.InferenceError: as it does.
        ValueError: as it does.
    """
    inferred = infer_with_values(proto)
    while _correct_sizes(proto, inferred):
        inferred = infer_with_values(proto)
    return inferred


def _correct_sizes(proto: onnx.ModelProto, inferred: onnx.ModelProto) -> bool:
    """Make the next inference of `proto` take the sizes that kernels make.

    Args:
        proto: Edited: a node whose sizes were inferred differently moves to the domain `HIDDEN`, its outputs declared.
        inferred: `proto` with the shapes that were inferred from it.

    Returns:
        Whether there is any: `proto` is to be inferred again.
    """
    corrected = _correct(proto.graph, inferred.graph, {})
    if corrected and all(entry.domain != HIDDEN for entry in proto.opset_import):
        proto.opset_import.add(domain=HIDDEN, version=1)
    return corrected


@dataclass(frozen=True, slots=True)
class _Known:
    """What inference says about the values that a node may read."""

    types: Mapping[str, onnx.TypeProto]
    constants: Mapping[str, onnx.TensorProto]

    def sizes(self, name: str) -> list[int | None] | None:
        if (constant := self.constants.get(name)) is not None:
            return list(constant.dims)
        type_ = self.types.get(name)
        if type_ is None or not type_.tensor_type.HasField("shape"):
            return None
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in type_.tensor_type.shape.dim]

    def is_shape_tensor(self, name: str) -> bool:
        if (constant := self.constants.get(name)) is not None:
            return constant.data_type in _INTEGERS and len(constant.dims) == 1
        type_ = self.types.get(name, onnx.TypeProto()).tensor_type
        return type_.elem_type in _INTEGERS and len(type_.shape.dim) == 1


def _correct(graph: onnx.GraphProto, inferred: onnx.GraphProto, around: Mapping[str, onnx.TypeProto]) -> bool:
    candidates = [node for node in graph.node if node.domain == "" and node.op_type in KERNEL_SIZED]
    slices = _of_unknown_bounds(graph)
    inner = [  # read of `graph` alone: nearly every node has none
        (attribute.g, inferred.node[i].attribute[k].g)
        for i, node in enumerate(graph.node)
        for k, attribute in enumerate(node.attribute)
        if attribute.type == onnx.AttributeProto.GRAPH
    ]
    if not candidates and not slices and not inner:
        return False
    values = (*inferred.input, *inferred.output, *inferred.value_info)
    types = {**around, **{value.name: value.type for value in values}}
    known = _Known(types, {tensor.name: tensor for tensor in _constants(graph)})
    corrected = False
    for node in candidates:
        sizes = known.sizes(node.output[0]) or []
        wrong = {axis: size for axis, size in _made_by_kernels(node, known) if sizes[axis : axis + 1] != [size]}
        if sizes and wrong:
            _declare(graph, node, known.types[node.output[0]], wrong)
            node.domain = HIDDEN
            corrected = True
    for node in slices:
        if known.is_shape_tensor(node.input[0]):
            _declare(graph, node, types.get(node.output[0], onnx.TypeProto()), {})
            node.domain = HIDDEN
            corrected = True
    found = [_correct(a, b, types) for a, b in inner]  # all of them
    return corrected or any(found)


def _of_unknown_bounds(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    slices = [node for node in graph.node if node.op_type == "Slice" and node.domain == "" and len(node.input) > 1]
    if not slices:
        return []
    constants = {tensor.name for tensor in graph.initializer}
    constants.update(node.output[0] for node in graph.node if node.op_type == "Constant")
    return [node for node in slices if any(name and name not in constants for name in node.input[1:])]


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            yield tensor


def _declare(graph: onnx.GraphProto, node: onnx.NodeProto, type_: onnx.TypeProto, sizes: Mapping[int, int]) -> None:
    outputs = [name for name in node.output if name]
    declared = [onnx.ValueInfoProto(name=name, type=type_) for name in outputs]
    for value in declared:
        if value.name != node.output[0]:  # the indices of a MaxPool
            value.type.tensor_type.elem_type = onnx.TensorProto.INT64
        for axis, size in sizes.items():
            value.type.tensor_type.shape.dim[axis].dim_value = size
    kept = [value for value in graph.value_info if value.name not in outputs]
    del graph.value_info[:]
    graph.value_info.extend([*kept, *declared])


def _made_by_kernels(node: onnx.NodeProto, known: _Known) -> Iterator[tuple[int, int]]:
    """(axis, size) of the first output, where the size follows from that of the input."""
    source = known.sizes(node.input[0])
    if source is None:
        return
    if node.op_type in _POOLS:
        yield from _windows(node, source[2:])
        return
    factors = _scales(node, known)
    if len(factors) == 0 or _text(node, "coordinate_transformation_mode") == _CROPS:
        return
    axes = _ints(node, "axes", len(factors), range(len(factors)))
    for axis, factor in zip(axes, factors, strict=True):
        size = source[axis]
        if size is not None:
            yield axis % len(source), math.floor(np.float32(size) * np.float32(factor))


def _scales(node: onnx.NodeProto, known: _Known) -> Sequence[float]:
    """Of Resize or Upsample; none where they are not known."""
    if len(node.input) == 1:  # Upsample below opset 9
        return next((tuple(attribute.floats) for attribute in node.attribute if attribute.name == "scales"), ())
    scales = known.constants.get(node.input[1 if len(node.input) == 2 else 2])  # opset 10: without a region
    return () if scales is None else [float(scale) for scale in onnx.numpy_helper.to_array(scales)]


def _windows(node: onnx.NodeProto, spatial: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """For a pool with ``ceil_mode``: how many windows begin before the end padding."""
    if not any(attribute.name == "ceil_mode" and attribute.i for attribute in node.attribute):
        return
    rank = len(spatial)
    kernel, strides = _ints(node, "kernel_shape", rank, ()), _ints(node, "strides", rank, [1] * rank)
    dilations, pads = _ints(node, "dilations", rank, [1] * rank), _ints(node, "pads", 2 * rank, [0] * 2 * rank)
    if len(kernel) != rank or _text(node, "auto_pad") not in ("", "NOTSET"):
        return
    for axis, size in enumerate(spatial):
        if size is None:
            continue
        room = size + pads[axis] + pads[axis + rank] - (dilations[axis] * (kernel[axis] - 1) + 1)
        last = math.ceil(room / strides[axis])
        yield axis + 2, last if last * strides[axis] >= size + pads[axis] else last + 1


def _ints(node: onnx.NodeProto, name: str, length: int, default: Sequence[int]) -> Sequence[int]:
    found = next((tuple(attribute.ints) for attribute in node.attribute if attribute.name == name), ())
    return found if len(found) == length else default


def _text(node: onnx.NodeProto, name: str) -> str:
    return next((attribute.s.decode() for attribute in node.attribute if attribute.name == name), "")
