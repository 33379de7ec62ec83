"""What two arrays of one shape differ by. Pure functions over numpy arrays, bounded in memory for large ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_modelcheck.accuracy.magnitude import CHUNK, Magnitudes, wide
from pytest_modelcheck.accuracy.tolerance import Tolerance

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Differences between a candidate and a reference, over the elements that are finite in both.

    NaN where nothing could be measured: no finite element, or a cosine with a zero vector.

    Attributes:
        max_abs: ``|candidate - reference|`` of the worst element, in the output's unit: the one that exceeds its limit
            the most. Where all elements have one limit it is the largest difference.
        mean_abs, p99_abs: Of ``|candidate - reference|``.
        max_rel, mean_rel, p99_rel: Of ``|candidate - reference| / |reference|`` where the reference is not zero.
        cosine: Cosine of the angle between the two flattened outputs.
        snr_db: ``10 log10(sum reference^2 / sum difference^2)`` in dB; inf where they are equal.
        over_share: Share of all elements beyond the limit, 0..1; elements that are NaN on either side count as beyond.
        worst_index: Index of the worst element; one that is not finite comes first.
        reference_value, candidate_value: The two values there.
        magnitude: What it was held against, see `accuracy.magnitude`.
    """

    max_abs: float = math.nan
    mean_abs: float = math.nan
    p99_abs: float = math.nan
    max_rel: float = math.nan
    mean_rel: float = math.nan
    p99_rel: float = math.nan
    cosine: float = math.nan
    snr_db: float = math.nan
    over_share: float = math.nan
    worst_index: tuple[int, ...] | None = None
    reference_value: float = math.nan
    candidate_value: float = math.nan
    magnitude: float = math.nan


UNMEASURED = Metrics()


def count_nan(array: Array) -> int:
    """How many elements are NaN; 0 for types that have none."""
    if not is_float(array):
        return 0
    return sum(int(np.count_nonzero(np.isnan(wide(chunk)))) for (chunk,) in _chunks(array))


def is_float(array: Array) -> bool:
    """Whether the elements are floating point or complex, ml_dtypes' bfloat16 and float8 included."""
    return array.dtype.kind in "fc" or "float" in array.dtype.name


def is_constant(array: Array) -> bool:
    """Whether there are at least two elements and all of them are equal: a comparison with it measures nothing."""
    if array.size < 2:
        return False
    flat = array.reshape(-1)
    return all(bool(np.all(chunk == flat[0])) for (chunk,) in _chunks(array))


def measure(
    reference: Array, candidate: Array, tolerance: Tolerance | None = None, sizes: Magnitudes | None = None
) -> Metrics:
    """Compare two arrays of the same non-empty shape.

    Args:
        reference, candidate: Any numeric dtype; compared in float64 (complex128).
        tolerance, sizes: What is within tolerance. None for exact types, where unequal elements are counted.
    """
    stride = max(1, reference.size // CHUNK)
    totals = np.zeros(7)  # finite elements, |d|, d^2, r^2, c^2, r*c; elements over the limit
    worst_difference = math.nan
    relative_max, relative_sum, relative_count = math.nan, 0.0, 0
    absolute_sample: list[Array] = []
    relative_sample: list[Array] = []
    worst, worst_at, worst_magnitude, offset = -1.0, 0, math.nan, 0
    for r_chunk, c_chunk in _chunks(reference, candidate):
        r, c = wide(r_chunk), wide(c_chunk)
        difference = _differences(r_chunk, c_chunk, r, c)
        size = sizes.of(np.abs(r), offset) if sizes else math.nan
        limit = tolerance.limits(size) if tolerance else 0.0
        rank = np.where(np.isnan(difference), np.inf, difference)
        if not isinstance(limit, float):
            with np.errstate(divide="ignore", invalid="ignore"):
                rank = np.where(rank > 0, rank / limit, 0.0)
        at = int(np.argmax(rank))
        if rank[at] > worst:
            worst, worst_at = float(rank[at]), offset + at
            worst_magnitude = float(np.broadcast_to(size, rank.shape)[at])
            worst_difference = float(difference[at])
        offset += rank.size
        beyond = rank.size - np.count_nonzero(difference <= limit)
        finite = np.isfinite(r) & np.isfinite(c)
        r, c, difference = r[finite], c[finite], difference[finite]
        with np.errstate(over="ignore"):
            squares = (_dot(v, v) for v in (difference, r, c))
            totals += [difference.size, difference.sum(), *squares, _dot(r, c), beyond]
        nonzero = r != 0
        relative = difference[nonzero] / np.abs(r[nonzero])
        if relative.size:
            relative_max = float(np.fmax(relative_max, relative.max()))
            relative_sum += float(relative.sum())
            relative_count += relative.size
        absolute_sample.append(difference[::stride].copy())  # a view would keep the whole chunk
        relative_sample.append(relative[::stride].copy())
    finite_count, absolute_sum, noise, signal, other, product, over = (float(total) for total in totals)
    index = tuple(int(i) for i in np.unravel_index(worst_at, reference.shape))
    r_worst, c_worst = _scalar(reference[index]), _scalar(candidate[index])
    return Metrics(
        max_abs=worst_difference,
        mean_abs=absolute_sum / finite_count if finite_count else math.nan,
        p99_abs=percentile(np.concatenate(absolute_sample)),
        max_rel=relative_max,
        mean_rel=relative_sum / relative_count if relative_count else math.nan,
        p99_rel=percentile(np.concatenate(relative_sample)),
        cosine=product / (math.sqrt(signal) * math.sqrt(other)) if signal and other else math.nan,
        snr_db=_snr_db(signal, noise),
        over_share=over / offset,
        worst_index=index,
        reference_value=r_worst,
        candidate_value=c_worst,
        magnitude=worst_magnitude,
    )


def _dot(left: Array, right: Array) -> float:
    """The real part of the inner product. Not by ``np.vdot``: BLAS spreads it over threads, which then spin for more.

    On 2 x 32 x 768 elements: 0.03 ms instead of 2.5 ms of processor time (OpenBLAS, two busy cores).
    """
    return float(np.einsum("i,i->", left.conj(), right).real)


def _differences(r_chunk: Array, c_chunk: Array, r: Array, c: Array) -> Array:
    """``|c - r|``; 0 for equal infinities, inf for infinities that differ, NaN where a side is NaN."""
    exact = not is_float(r_chunk)
    same = (r_chunk == c_chunk) if exact else (r == c)
    with np.errstate(invalid="ignore", over="ignore"):
        difference: Array = np.abs(c - r)
    difference[same] = 0.0
    if exact:
        difference[~same & (difference == 0.0)] = 1.0  # beyond 2^53 float64 cannot tell two integers apart
    return difference


def top1_agreement(reference: Array, candidate: Array) -> float:
    """Share of rows along the last axis whose largest element is at the same place, 0..1.

    NaN where the last axis has fewer than two elements.
    """
    if reference.ndim == 0 or reference.shape[-1] < 2 or not reference.size or reference.dtype.kind == "c":
        return math.nan
    rows = reference.shape[-1]
    r, c = reference.reshape(-1, rows), candidate.reshape(-1, rows)
    step = max(1, CHUNK // rows)
    agree = 0
    for start in range(0, len(r), step):
        part = slice(start, start + step)
        agree += int(np.count_nonzero(wide(r[part]).argmax(-1) == wide(c[part]).argmax(-1)))
    return agree / len(r)


def _chunks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, CHUNK):
        yield tuple(array[start : start + CHUNK] for array in flat)


def percentile(values: Array) -> float:
    """The 99th percentile by nearest rank: a value that occurred, never an average of two."""
    return float(np.percentile(values, 99, method="inverted_cdf")) if values.size else math.nan


def _snr_db(signal: float, noise: float) -> float:
    if signal == 0 or not math.isfinite(signal) or not math.isfinite(noise):
        return math.nan
    return math.inf if noise == 0 else 10 * math.log10(signal / noise)


def _scalar(value: Any) -> float:
    return float(abs(value)) if isinstance(value, np.complexfloating) else float(value)
