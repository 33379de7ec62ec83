"""The constant target of a Reshape."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_modelcheck.shapes.dims import Dim, are_numbers, is_positive


def reshape_target(source: Sequence[Dim] | None, shape: Sequence[Dim] | None) -> tuple[int, ...] | None:
    """The constant target with which Reshape makes `shape` of a tensor of shape `source`.

    None if there is none, or the shape is not known.

    With allowzero=0: 0 stands for an axis that keeps its size, -1 for the one size that is not known, which cannot be
    computed beside an axis that has or may have size 0.
    """
    target: list[int] = []
    if shape is None:
        return None
    for axis, dim in enumerate(shape):
        if isinstance(dim, int) and dim > 0:
            target.append(dim)
        elif source is not None and axis < len(source) and source[axis] == dim:
            target.append(0)
        elif isinstance(dim, int):
            return None
        else:
            target.append(-1)
    unknown = target.count(-1)
    beside = (dim for dim, element in zip(shape, target, strict=True) if element != -1)
    return tuple(target) if unknown == 0 or (unknown == 1 and all(map(is_positive, beside))) else None


def copying_target(source: Sequence[Dim] | None, elements: Sequence[Dim]) -> tuple[int, ...] | None:
    """A target of these elements, with 0 where one is the size of its axis in `source`: the same for all sizes.

    None where an element is neither a number nor such a size.
    """
    sizes = [*(source or ()), *[None] * len(elements)]
    copied = [0 if element == size else element for element, size in zip(elements, sizes, strict=False)]
    return tuple(element for element in copied if isinstance(element, int)) if are_numbers(copied) else None
