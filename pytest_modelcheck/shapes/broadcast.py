"""Multidirectional broadcasting of shapes with symbolic dimensions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_modelcheck.shapes.dims import Dim


def broadcast(shapes: Sequence[tuple[Dim, ...] | None]) -> list[Dim | None] | None:
    """Multidirectional broadcasting. The model is taken to be valid: two sizes that meet are equal, or one is 1."""
    if any(shape is None for shape in shapes):
        return None
    rank = max(len(shape) for shape in shapes if shape is not None)
    result: list[Dim | None] = []
    for axis in range(-rank, 0):
        result.append(_met([shape[axis] for shape in shapes if shape is not None and len(shape) >= -axis]))
    return result


def broadcasts_to(shape: tuple[Dim, ...] | None, target: tuple[Dim, ...] | None) -> bool:
    """Whether no axis of a tensor of `shape` can stretch one of the shape `target`, nor give it another axis."""
    if shape is None or target is None:
        return shape == ()
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, dim) for size, dim in aligned)


def _met(dims: Sequence[Dim]) -> Dim | None:
    dims = [dim for dim in dict.fromkeys(dims) if dim != 1]
    if not dims:
        return 1
    numbers = [dim for dim in dims if isinstance(dim, int)]
    if numbers:
        return numbers[0]
    for dim in dims:  # min(n, dim) that meets dim is dim: it is equal to it, or dim is 1 and so is the minimum
        if all(other == dim or _is_capped(other, dim) for other in dims):
            return dim
    return None


def _is_capped(candidate: Dim, dim: Dim) -> bool:
    """Whether `candidate` is min(n, dim) with a number n above 1."""
    capped = re.fullmatch(rf"min\((\d+),{re.escape(repr(dim))}\)", repr(candidate))
    return capped is not None and int(capped[1]) > 1
