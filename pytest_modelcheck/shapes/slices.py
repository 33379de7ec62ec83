"""What the bounds of a Slice are, and how long the slice is."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import has_reference_attributes, integers_attribute
from pytest_modelcheck.shapes.dims import Dim, is_nonnegative, minimum, subtract
from pytest_modelcheck.shapes.known import Known

INFINITE = 2**31 - 1
"""An end at or above this is the end of any axis."""


def slice_bounds(node: ir.Node, known: Known) -> dict[int, tuple[Dim, Dim, Dim]] | None:
    """Axis (not negative) -> (start, end, step) of a Slice; None where its axes are not known."""
    shape = known.shape(node.inputs[0])
    if shape is None:
        return None
    if "starts" in node.attributes:  # opset 1
        if has_reference_attributes(node):
            return None
        parts: list[tuple[Dim, ...] | None] = [integers_attribute(node, name) for name in ("starts", "ends", "axes")]
    else:
        if len(node.inputs) < 3:
            return None
        parts = [known.content(value) if value is not None else None for value in node.inputs[1:]]
        parts += [None] * (4 - len(parts))
        if any(value is not None and part is None for value, part in zip(node.inputs[1:], parts, strict=False)):
            return None
    starts, ends = parts[0], parts[1]
    if starts is None or ends is None or len(starts) != len(ends):
        return None
    axes = parts[2] if parts[2] is not None else tuple(range(len(starts)))
    steps = parts[3] if len(parts) > 3 and parts[3] is not None else (1,) * len(starts)
    if len(axes) != len(starts) or len(steps) != len(starts):
        return None
    result: dict[int, tuple[Dim, Dim, Dim]] = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if not isinstance(axis, int) or not -len(shape) <= axis < len(shape):
            return None
        result[axis % len(shape)] = (start, end, step)
    return result


def sliced(dim: Dim, start: Dim, end: Dim, step: Dim) -> Dim | None:
    """The length of ``range(dim)[start:end:step]``; None where it is not certain."""
    if all(isinstance(part, int) for part in (dim, start, end, step)):
        return len(range(dim)[start:end:step]) if step != 0 else None  # type: ignore[index, arg-type]
    if step != 1 or not isinstance(start, int):
        if step == 1 and start == end:
            return 0
        return None
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
    """Whether the Slice `node` is known to give all of its input."""
    shape, bounds = known.shape(node.inputs[0]), slice_bounds(node, known)
    if shape is None or bounds is None:
        return False
    return all(
        step == 1 and sliced(shape[axis], start, end, step) == shape[axis]
        for axis, (start, end, step) in bounds.items()
    )


def pads_nothing(node: ir.Node, known: Known) -> bool:
    """Whether every pad of the Pad `node` is known to be 0."""
    pads = integers_attribute(node, "pads", known.constant_content(node.inputs[1]) if len(node.inputs) > 1 else None)
    return pads is not None and not any(pads)
