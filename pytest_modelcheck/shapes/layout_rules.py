"""Rules of shape_rules.py for operators that rearrange the elements of a tensor or select some of them."""

from __future__ import annotations

import functools

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute, integers_attribute
from pytest_modelcheck.shapes.broadcast import broadcast
from pytest_modelcheck.shapes.dims import Dim, add, divide_exactly, is_nonnegative, is_positive, product
from pytest_modelcheck.shapes.known import Known, Partial, axes_of, axis_of, normalized
from pytest_modelcheck.shapes.slices import slice_bounds, sliced


def reshaped(source: tuple[Dim, ...] | None, target: tuple[Dim, ...], *, allow_zero: bool) -> Partial:
    """The dimensions that Reshape makes of `source`; `target` as Reshape reads it (0 copies, -1 is the rest)."""
    result: list[Dim | None] = []
    for axis, element in enumerate(target):
        copied = source[axis] if source is not None and axis < len(source) else None
        if element == 0 and not allow_zero:
            result.append(copied)
        elif not is_nonnegative(element) or not (allow_zero or is_positive(element) or element == copied):
            result.append(None)  # -1, or what may be 0 and then stands for what is copied
        else:
            result.append(element)
    if source is not None and target.count(-1) == 1 and result.count(None) == 1:
        rest = divide_exactly(product(source), product(dim for dim in result if dim is not None))
        result[target.index(-1)] = rest
    return result


def transpose(node: ir.Node, known: Known) -> list[Partial]:
    shape = known.shape(node.inputs[0])
    if shape is None:
        return []
    order = integers_attribute(node, "perm", tuple(range(len(shape)))[::-1])
    if order is None:
        return [[None] * len(shape)]
    return [[shape[axis] for axis in order]] if sorted(order) == list(range(len(shape))) else []


def reshape(node: ir.Node, known: Known) -> list[Partial]:
    if len(node.inputs) < 2:
        return []
    target = known.content(node.inputs[1])
    if target is None:
        return []
    allow_zero = integer_attribute(node, "allowzero", 0)
    if allow_zero is None:
        return [[None] * len(target)]
    return [reshaped(known.shape(node.inputs[0]), target, allow_zero=bool(allow_zero))]


def flatten(node: ir.Node, known: Known) -> list[Partial]:
    shape, axis = known.shape(node.inputs[0]), integer_attribute(node, "axis", 1)
    if shape is None or axis is None:
        return [[None, None]]
    axis += len(shape) if axis < 0 else 0
    return [[product(shape[:axis]), product(shape[axis:])]]


def squeeze(node: ir.Node, known: Known) -> list[Partial]:
    shape, axes = known.shape(node.inputs[0]), axes_of(node, known)
    if shape is None or axes is None:
        return []
    if not axes:
        return [[dim for dim in shape if dim != 1]] if all(isinstance(dim, int) for dim in shape) else []
    dropped = normalized(axes, len(shape))
    return [] if dropped is None else [[dim for axis, dim in enumerate(shape) if axis not in dropped]]


def unsqueeze(node: ir.Node, known: Known) -> list[Partial]:
    shape, axes = known.shape(node.inputs[0]), axes_of(node, known)
    if shape is None or axes is None:
        return []
    rank = len(shape) + len(axes)
    made, rest = normalized(axes, rank), iter(shape)
    return [] if made is None else [[1 if axis in made else next(rest) for axis in range(rank)]]


def expand(node: ir.Node, known: Known) -> list[Partial]:
    target = known.content(node.inputs[1])
    shape = known.shape(node.inputs[0])
    if target is None or shape is None:
        return []
    # An element of unknown sign may be no size at all.
    return [[dim if dim is not None and is_nonnegative(dim) else None for dim in broadcast([shape, target]) or ()]]


def concat(node: ir.Node, known: Known) -> list[Partial]:
    shapes = [known.shape(value) for value in node.inputs]
    present = [shape for shape in shapes if shape is not None]
    axis = axis_of(node, len(present[0]), None) if present else None
    if axis is None or len(set(map(len, present))) > 1:
        return []
    result: list[Dim | None] = list(present[0])
    for shape in present:
        result = [dim if isinstance(dim, int) else other for dim, other in zip(result, shape, strict=True)]
    sizes = [shape[axis] for shape in present]
    result[axis] = functools.reduce(add, sizes) if len(present) == len(shapes) else None
    return [result]


def gather(node: ir.Node, known: Known) -> list[Partial]:
    data, indices = known.shape(node.inputs[0]), known.shape(node.inputs[1])
    axis = None if data is None else axis_of(node, len(data))
    if data is None or indices is None or axis is None:
        return []
    return [[*data[:axis], *indices, *data[axis + 1 :]]]


def slice_(node: ir.Node, known: Known) -> list[Partial]:
    shape = known.shape(node.inputs[0])
    if shape is None:
        return []
    bounds = slice_bounds(node, known)
    if bounds is None:
        return [[None] * len(shape)]
    result: list[Dim | None] = list(shape)
    for axis, (start, end, step) in bounds.items():
        result[axis] = sliced(shape[axis], start, end, step)
    return [result]
