"""What the bounds of a Slice are, how long the slice is, and what a Pad puts around."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import has_reference_attributes, integers_attribute
from pytest_modelcheck.shapes.dims import Dim, is_nonnegative, minimum, subtract
from pytest_modelcheck.shapes.known import Known, axes_of, normalized

INFINITE = 2**31 - 1
"""An end at or above this is the end of any axis."""


def slice_bounds(node: ir.Node, known: Known) -> dict[int, tuple[Dim, Dim, Dim]] | None:
    """Axis (not negative) -> (start, end, step) of a Slice; None where they are not known."""
    if "starts" in node.attributes:  # opset 1
        parts: list[tuple[Dim, ...] | None] = [integers_attribute(node, name) for name in ("starts", "ends", "axes")]
        if has_reference_attributes(node):
            return None
    else:
        parts = [known.content(value) for value in node.inputs[1:]]
        if any(value is not None and part is None for value, part in zip(node.inputs[1:], parts, strict=True)):
            return None
    starts, ends, axes, steps = (*parts, None, None, None, None)[:4]
    if starts is None or ends is None:
        return None
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    numbers = [axis for axis in axes if isinstance(axis, int)]
    shape = known.shape(node.inputs[0])
    if shape is None and any(axis < 0 for axis in numbers):
        return None
    along = normalized(numbers, len(shape)) if shape is not None else numbers
    if along is None or not len(along) == len(starts) == len(ends) == len(steps):
        return None
    return dict(zip(along, zip(starts, ends, steps, strict=True), strict=True))


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
    if node.op_type == "Pad":
        amounts = _amounts(node, known)
        return amounts is not None and not any(amounts)
    shape, bounds = known.shape(node.inputs[0]), slice_bounds(node, known)
    if shape is None or bounds is None:
        return False
    return all(
        step == 1 and sliced(shape[axis], start, end, step) == shape[axis]
        for axis, (start, end, step) in bounds.items()
    )


def pads_of(node: ir.Node, known: Known) -> list[tuple[Dim, Dim]] | None:
    """What the Pad `node` puts before and behind each axis; None where that is not known."""
    shape, amounts, axes = known.shape(node.inputs[0]), _amounts(node, known), axes_of(node, known, 3)
    if shape is None or amounts is None or axes is None:
        return None
    along = normalized(axes or range(len(shape)), len(shape))
    if along is None or len(amounts) != 2 * len(along):
        return None
    pads = dict(zip(along, zip(amounts[: len(along)], amounts[len(along) :], strict=True), strict=True))
    return [pads.get(axis, (0, 0)) for axis in range(len(shape))]


def _amounts(node: ir.Node, known: Known) -> tuple[Dim, ...] | None:
    if "pads" in node.attributes:  # before opset 11
        return integers_attribute(node, "pads")
    return known.content(node.inputs[1]) if len(node.inputs) > 1 else None
