"""The magnitude that `rtol` multiplies: what an element is held against, so that no other element can inflate it.

The rule, for every finite element r of a reference:

1. **Masked elements** are left out: a band ``[u / 4, u]`` at the top, ``u`` the largest finite magnitude and at least
   1e4, with an empty factor of 100 below it: logits filled with ``finfo.min``, -1e9, -1e6 or -1e4. What is left is
   looked at in the same way, so that two kinds of masks are both found.
2. **The typical magnitude** is the median of ``|r|`` over elements that are neither zero nor masked: of the whole
   output, or of each slice along the axis whose slices differ most, for outputs of mixed scale such as boxes beside
   scores (16 elements a slice or more; at most 4,096 slices).
3. **The magnitude** is the largest unmasked ``|r|``, but at most ``reach`` times the typical one, and never less than
   the element's own ``|r|``.

With ``reach = max(1e-3 / rtol, 10)`` the limit ``rtol * magnitude`` stays under a thousandth of what is typical (under
10 rtol for wide tolerances), whatever else the output holds. Normal noise of a million elements has its largest at 7
times the median: for outputs of one scale the magnitude is ``max|reference|``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_modelcheck.accuracy.tolerance import Tolerance

Array = np.ndarray[Any, np.dtype[Any]]

CHUNK = 1 << 22
"""Elements that are worked on at once."""

MASKS_FROM = 1e4
"""The smallest mask in use: BERT's additive -10000."""

BAND, GAP = 4.0, 100.0
"""A sum of two masks is in one band; logits of 20 lie a factor of 500 below the smallest mask."""

SLICE, SLICES = 16, 4096
"""A median of fewer elements says little; an axis of a vocabulary or of anchors has no scales of its own."""

ONE_SCALE = 10.0
"""Slices whose medians differ by less are of one scale: 64 normal values have medians that differ by a factor of 2."""

SAMPLE = 64
"""Elements of a slice that its median is taken from, evenly strided."""


@dataclass(frozen=True, slots=True, eq=False)
class Magnitudes:
    """What each element of one output is held against.

    Attributes:
        largest: The largest finite magnitude that is not a mask; 0.0 where there is none.
        scale: The magnitude before the element's own is considered: one number, or one per slice.
        inner: For slices: how many elements follow each other in memory in one slice.
        exceeded: Whether an element can be larger than its scale.
    """

    largest: float
    scale: float | Array
    inner: int = 1
    exceeded: bool = False

    def of(self, magnitude: Array, offset: int) -> float | Array:
        """The magnitudes that a run of elements is held against.

        Args:
            magnitude: (n,) their own magnitudes.
            offset: Index of the first in the flattened output.
        """
        scale = self.scale
        if not isinstance(scale, float):
            scale = scale[np.arange(offset, offset + magnitude.size) // self.inner % scale.size]
        if not self.exceeded:
            return scale
        return np.maximum(scale, np.where(np.isfinite(magnitude), magnitude, 0.0))


def magnitudes(array: Array, tolerance: Tolerance | None) -> Magnitudes:
    """The rule above for one output of any shape.

    Args:
        array: Any numeric dtype.
        tolerance: Where its atol is the wider one anyway, slices and medians are not looked at. None for exact types,
            which are held against their largest magnitude.
    """
    top = _largest(array, math.inf)
    if tolerance is None:
        return Magnitudes(top, top)
    largest, masks_from = _unmasked(array, top)
    if tolerance.rtol * largest <= tolerance.atol and largest <= 1.0:
        return Magnitudes(largest, largest, exceeded=largest < top)
    reach = max(1e-3 / tolerance.rtol, 10.0) if tolerance.rtol else math.inf
    whole = min(largest, reach * _median(array, masks_from))
    scale, inner = _by_slice(array, masks_from, whole, largest, reach)
    return Magnitudes(largest, scale, inner, exceeded=np.min(scale) < top)


def allowed(array: Array, tolerance: Tolerance) -> Array:
    """The largest allowed difference of every element, in the array's shape."""
    own = np.abs(wide(array)).reshape(-1)
    limits = tolerance.limits(magnitudes(array, tolerance).of(own, 0))
    return np.broadcast_to(limits, own.shape).reshape(array.shape)


def _unmasked(array: Array, top: float) -> tuple[float, float]:
    """The largest magnitude that is not a mask, and the smallest that is one (inf where there is none)."""
    masks_from = math.inf
    while top >= MASKS_FROM:
        below = _largest(array, top / BAND)
        if math.isnan(below):
            break
        bottom = min(float(band.min()) for part in finite_parts(array) if (band := part[part >= top / BAND]).size)
        if bottom < GAP * below:
            break
        masks_from, top = bottom, below
    return top, masks_from


def _largest(array: Array, under: float) -> float:
    """The largest finite magnitude under a bound; 0.0 for an array without one at all, NaN where none is under it."""
    found = [float(some.max()) for part in finite_parts(array) if (some := part[part < under]).size]
    return max(found) if found else math.nan if under < math.inf else 0.0


def finite_parts(array: Array) -> Iterator[Array]:
    """The finite magnitudes, a bounded number at a time."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        part = np.abs(wide(flat[start : start + CHUNK]))
        yield part[np.isfinite(part)]


def wide(array: Array) -> Array:
    """float64 or complex128, in which everything is compared."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _medians(rows: Array, masks_from: float, least: int) -> Array:
    """(rows,) medians of what is neither zero nor masked; inf for a row with fewer than `least` such elements."""
    rows = np.abs(wide(rows))
    counted = (rows > 0) & (rows < masks_from)
    rows[~counted] = math.inf
    rows.sort(axis=1)  # what does not count is behind; numpy's nanmedian takes ten times as long for short rows
    counts = np.count_nonzero(counted, axis=1)
    enough = np.flatnonzero(counts >= max(1, least))
    medians = np.full(len(rows), math.inf)
    medians[enough] = (rows[enough, (counts[enough] - 1) // 2] + rows[enough, counts[enough] // 2]) / 2
    return medians


def _median(array: Array, masks_from: float) -> float:
    step = max(1, array.size // (SLICES * SAMPLE))
    return float(_medians(array.reshape(1, -1)[:, ::step], masks_from, 1)[0])


def _by_slice(array: Array, masks_from: float, whole: float, largest: float, reach: float) -> tuple[float | Array, int]:
    """One scale per slice along the axis whose medians differ most, and the length of a run in one slice."""
    spread, inner = ONE_SCALE, 1
    scale: float | Array = whole
    for axis, count in enumerate(array.shape):
        size = array.size // max(1, count)
        if not 2 <= count <= SLICES or size < SLICE:
            continue
        rows = np.moveaxis(array, axis, 0).reshape(count, -1)[:, :: max(1, size // SAMPLE)]
        medians = _medians(rows, masks_from, SLICE // 2)
        known = medians[np.isfinite(medians)]
        if known.size and (here := float(known.max() / known.min())) > spread:
            scale = np.where(np.isfinite(medians), np.minimum(largest, reach * medians), whole)
            spread, inner = here, math.prod(array.shape[axis + 1 :])
    return scale, inner
