"""What the bounds of a Slice are, how long the slice is, and what a Pad puts around."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.shapes.dims import Dim, is_nonnegative, minimum, subtract
from pytest_modelcheck.shapes.known import Facts, Known, Shape, Unknown, fact, normalized

INFINITE = 2**31 - 1
"""An end at or above this is the end of any axis."""


def slice_bounds(of: Facts) -> dict[int, tuple[Dim, Dim, Dim]]:
    """Axis (not negative) -> (start, end, step) of a Slice.

    Raises:
        Unknown: where they are not known.
    """
    given: list[Shape]
    if "starts" in of.node.attributes:  # opset 1
        given = [fact(integers_attribute(of.node, name)) for name in ("starts", "ends")]
    else:
        given = [of.content(index) for index in (1, 2, 4) if index < 4 or of.value(index) is not None]
    starts, ends, steps = given if len(given) == 3 else (*given, (1,) * len(given[0]))
    axes, shape = of.axes(3) or tuple(range(len(starts))), of.known.shape(of.value(0))
    if shape is not None:
        axes = normalized(axes, len(shape))
    if any(axis < 0 for axis in axes) or not len(axes) == len(starts) == len(ends) == len(steps):
        raise Unknown
    return dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))


def sliced(dim: Dim, start: Dim, end: Dim, step: Dim) -> Dim | None:
    """The length of ``range(dim)[start:end:step]``; None where it is not certain."""
    if all(isinstance(part, int) for part in (dim, start, end, step)):
        return len(range(dim)[start:end:step]) if step != 0 else None  # type: ignore[index, arg-type]
    if step != 1 or not isinstance(start, int):
        return 0 if step == 1 and start == end else None
    if start == 0:
        if end == dim or (isinstance(end, int) and end >= INFINITE):
            return dim
        return minimum(dim, end) if is_nonnegative(end) else None
    if start > 0 and (end == dim or (isinstance(end, int) and end >= INFINITE)):
        rest = subtract(dim, start)
        return rest if is_nonnegative(rest) else None
    if start < 0 and isinstance(end, int) and end >= INFINITE:
        return minimum(dim, -start)
    return None


def keeps_everything(node: ir.Node, known: Known) -> bool:
    """Whether the Slice or Pad `node` is known to give all of its input, and nothing else."""
    of = Facts(node, known)
    try:
        if node.op_type == "Pad":
            return not any(_amounts(of))
        shape, bounds = of.shape(), slice_bounds(of)
    except Unknown:
        return False
    return all(
        step == 1 and sliced(shape[axis], start, end, step) == shape[axis]
        for axis, (start, end, step) in bounds.items()
    )


def pads_of(of: Facts) -> list[tuple[Dim, Dim]]:
    """What a Pad puts before and behind each axis.

    Raises:
        Unknown: where that is not known.
    """
    rank, amounts = len(of.shape()), _amounts(of)
    along = normalized(of.axes(3) or range(rank), rank)
    if len(amounts) != 2 * len(along):
        raise Unknown
    pads = dict(zip(along, zip(amounts[: len(along)], amounts[len(along) :], strict=True), strict=True))
    return [pads.get(axis, (0, 0)) for axis in range(rank)]


def _amounts(of: Facts) -> Shape:
    # An attribute before opset 11.
    return fact(integers_attribute(of.node, "pads")) if "pads" in of.node.attributes else of.content(1)
