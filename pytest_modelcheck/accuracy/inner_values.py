"""Comparing values inside two graphs, where NaN, masks and flattened rows are part of how things work."""

from __future__ import annotations

import math

import numpy as np

from pytest_modelcheck.accuracy.magnitude import allowed, wide
from pytest_modelcheck.accuracy.metrics import Array, is_float
from pytest_modelcheck.accuracy.tolerance import Tolerance, Tolerances


def in_tolerances(reference: Array, candidate: Array, tolerances: Tolerances, output: str = "") -> float:
    """The largest difference in units of what the tolerance allows; NaN at the same place is agreement here."""
    if not is_float(reference):
        return 0.0 if np.array_equal(reference, candidate) else math.inf
    return float(shares_of_tolerance(reference, candidate, tolerances.of(output, reference.dtype)).max(initial=0.0))


def shares_of_tolerance(reference: Array, candidate: Array, tolerance: Tolerance) -> Array:
    """The same for each element of two float arrays of one shape: infinity where infinities differ."""
    limits = allowed(reference, tolerance)
    r, c = wide(reference), wide(candidate)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        difference = np.where((r == c) | (np.isnan(r) & np.isnan(c)), 0.0, np.abs(c - r))
        shares = np.where(difference > 0, difference / limits, 0.0)
    return np.where(np.isfinite(difference), shares, np.inf)


def merges_into(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    """Whether one shape becomes the other by merging neighbouring axes.

    (2, 32, 768) and (64, 768) do, (2, 32, 768) and (2, 768, 32) do not. A pass may run a layer
    on flattened rows; the elements keep their order then, and can be compared.
    """
    fewer, more = sorted(([size for size in shape if size != 1] for shape in (left, right)), key=len)
    index = 0
    for size in fewer:
        product = 1
        while index < len(more) and product < size:
            product *= more[index]
            index += 1
        if product != size:
            return False
    return index == len(more)


def largest_difference(left: Array, right: Array) -> float:
    """The largest difference of two equally shaped arrays, NaN aside; inf for exact types that differ."""
    if not is_float(left) or not left.size:
        return 0.0 if np.array_equal(left, right) else math.inf
    with np.errstate(invalid="ignore"):
        difference = np.abs(left.astype(np.float64) - right.astype(np.float64))
    return float(np.nanmax(difference, initial=0.0))
