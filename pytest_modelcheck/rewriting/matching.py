"""Small questions about a graph that the fusing passes share. None of these edits anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.graph.constants import constant_array, constant_tensor
from pytest_modelcheck.graph.readers import read_once

GEMM_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
"""What onnxruntime's CPU kernel for Gemm takes; the operator itself takes more."""

FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

_RELATIVE = {ir.DataType.FLOAT: 1e-6, ir.DataType.DOUBLE: 1e-6, ir.DataType.FLOAT16: 1e-3, ir.DataType.BFLOAT16: 1e-2}
"""How far a stored constant may be from the number it stands for: its own rounding, and never an absolute tolerance
(onnxscript 0.7.2 takes 1e-12 for 0 with one). Constants of DOUBLE are often written from single precision."""


def produced_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The standard-domain node of one of these op types that makes `value` as its first output, else None."""
    if value is None:
        return None
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in op_types or node.outputs[0] is not value:
        return None
    return node


def only_reader(value: ir.Value, *op_types: str) -> ir.Node | None:
    """The one standard-domain node of these op types (any, if none is given) that reads `value`, and nothing else does.

    None where `value` is a graph output, is read more than once, or is read from inside a subgraph.
    """
    if not read_once(value):
        return None
    (use,) = value.uses()
    owner = value.graph
    if owner is not None and use.node.graph is not owner and not value.is_initializer():
        return None
    if op_types and (use.node.domain != "" or use.node.op_type not in op_types):
        return None
    return use.node


def scalar(value: ir.Value | None) -> float | None:
    """The number in a constant with one element (any rank), else None."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.size != 1:
        return None
    number = float(tensor.numpy().reshape(-1)[0])
    return None if math.isnan(number) else number


def weight_content(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """The content of a constant, or of the transpose of one, which is how torchscript writes the weight of a Linear."""
    tensor, perm = _stored(value)
    array = None if tensor is None else tensor.numpy()
    return array if array is None or perm is None else array.transpose(perm)


def weight_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The shape of `weight_content`, which is not read."""
    tensor, perm = _stored(value)
    if tensor is None:
        return None
    shape = tuple(tensor.shape.numpy())
    return shape if perm is None else tuple(shape[axis] for axis in perm)


def weight_source(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of a constant, or the one of which it is the transpose; see `weight_content`."""
    return _stored(value)[0]


def _stored(value: ir.Value | None) -> tuple[ir.TensorProtocol | None, tuple[int, ...] | None]:
    """`weight_source`, and the order of axes in which it is read; None for its own."""
    turned = produced_by(value, "Transpose")
    tensor = constant_tensor(value if turned is None else turned.inputs[0])
    if turned is None or tensor is None:
        return tensor, None
    perm = integers_attribute(turned, "perm", tuple(range(len(tensor.shape)))[::-1])
    return (None if perm is None else tensor), perm


def is_scalar(value: ir.Value | None, expected: float) -> bool:
    """Whether `value` is a one-element constant that is `expected`, rounded to its own type."""
    if value is None:
        return False
    number = scalar(value)
    return number is not None and math.isclose(number, expected, rel_tol=rounding_of(value.dtype))


def rounding_of(dtype: ir.DataType | None) -> float:
    """The relative tolerance at which a number stored as `dtype` still stands for a mathematical one."""
    return 1e-6 if dtype is None else _RELATIVE.get(dtype, 1e-6)


def keeps_rank(constant: ir.Value, other: ir.Value) -> bool:
    """Whether broadcasting a one-element `constant` against `other` leaves the shape of `other` as it is."""
    tensor = constant_tensor(constant)
    if tensor is None:
        return False
    dimensions = len(tensor.shape)
    return dimensions == 0 or (other.shape is not None and dimensions <= len(other.shape))


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """Of a node with two inputs, the one that is not `value`; `value` itself where it is both."""
    first, second = node.inputs
    return second if first is value else first


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, where it is known."""
    return None if value is None or value.shape is None else len(value.shape)


def permutation(node: ir.Node | None) -> tuple[int, ...] | None:
    """The order of axes of a Transpose; None for any other node, and where neither order nor rank is known."""
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    dimensions = rank(node.inputs[0]) or rank(node.outputs[0])
    return integers_attribute(node, "perm", None if dimensions is None else tuple(range(dimensions))[::-1])


def reduced_axes(node: ir.Node) -> tuple[int, ...] | None:
    """The axes of a reduction, attribute or constant input: () where none are given, None where they are not known."""
    axes = integers_attribute(node, "axes", ())
    if axes == () and len(node.inputs) > 1 and node.inputs[1] is not None:
        array = constant_array(node.inputs[1])
        axes = None if array is None else tuple(int(axis) for axis in array.reshape(-1))
    return axes


def scope_of(node: ir.Node) -> ir.Graph | ir.Function:
    """The graph or function that holds `node`.

    Raises:
        ValueError: The node is in no graph.
    """
    if node.graph is None:
        raise ValueError(f"node {node.name!r} ({node.op_type}) is in no graph")
    return node.graph
