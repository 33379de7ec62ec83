"""Rules of shape_rules.py for operators that rearrange the elements of a tensor or select some of them."""

from __future__ import annotations

from pytest_modelcheck.graph.attributes import integer_attribute, integers_attribute
from pytest_modelcheck.shapes.broadcast import broadcast
from pytest_modelcheck.shapes.dims import Dim, add, divide_exactly, is_nonnegative, is_positive, product
from pytest_modelcheck.shapes.known import Facts, Partial, Unknown, normalized
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


def transpose(of: Facts) -> list[Partial]:
    shape = of.shape()
    order = integers_attribute(of.node, "perm", tuple(range(len(shape)))[::-1])
    if order is None:
        return [[None] * len(shape)]
    return [[shape[axis] for axis in order]] if sorted(order) == list(range(len(shape))) else []


def reshape(of: Facts) -> list[Partial]:
    target, allow_zero = of.content(1), integer_attribute(of.node, "allowzero", 0)
    if allow_zero is None:
        return [[None] * len(target)]
    return [reshaped(of.known.shape(of.value(0)), target, allow_zero=bool(allow_zero))]


def flatten(of: Facts) -> list[Partial]:
    shape, axis = of.known.shape(of.value(0)), integer_attribute(of.node, "axis", 1)
    if shape is None or axis is None:
        return [[None, None]]
    axis += len(shape) if axis < 0 else 0
    return [[product(shape[:axis]), product(shape[axis:])]]


def squeeze(of: Facts) -> list[Partial]:
    shape, axes = of.shape(), of.axes()
    if not axes:
        return [[dim for dim in shape if dim != 1]] if all(isinstance(dim, int) for dim in shape) else []
    dropped = normalized(axes, len(shape))
    return [[dim for axis, dim in enumerate(shape) if axis not in dropped]]


def unsqueeze(of: Facts) -> list[Partial]:
    shape, axes = of.shape(), of.axes()
    rank, rest = len(shape) + len(axes), iter(shape)
    made = normalized(axes, rank)
    return [[1 if axis in made else next(rest) for axis in range(rank)]]


def expand(of: Facts) -> list[Partial]:
    # An element of unknown sign may be no size at all.
    dims = broadcast([of.shape(0), of.content(1)]) or ()
    return [[dim if dim is not None and is_nonnegative(dim) else None for dim in dims]]


def concat(of: Facts) -> list[Partial]:
    shapes = [of.known.shape(value) for value in of.node.inputs]
    present = [shape for shape in shapes if shape is not None]
    if len(set(map(len, present))) != 1:
        return []
    axis = of.axis(len(present[0]), None)
    result: list[Dim | None] = list(present[0])
    for shape in present:
        result = [dim if isinstance(dim, int) else other for dim, other in zip(result, shape, strict=True)]
    result[axis] = add(*(shape[axis] for shape in present)) if len(present) == len(shapes) else None
    return [result]


def gather(of: Facts) -> list[Partial]:
    data, indices = of.shape(0), of.shape(1)
    axis = of.axis(len(data))
    return [[*data[:axis], *indices, *data[axis + 1 :]]]


def slice_(of: Facts) -> list[Partial]:
    shape = of.shape()
    try:
        bounds = slice_bounds(of)
    except Unknown:
        return [[None] * len(shape)]
    result: list[Dim | None] = list(shape)
    for axis, (start, end, step) in bounds.items():
        result[axis] = sliced(shape[axis], start, end, step)
    return [result]
