"""From paired times to a ratio with an interval: pure functions, the same samples give the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.998
"""Of each interval. The verdict is looked at several times while samples come in, so each look must be rarely wrong."""

EARLY_CONFIDENCE = 0.99
"""Of an interval that may let pass and never fails: from few rounds."""

PRIOR_WEIGHT = 4
"""Degrees of freedom of what is known before the first round."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle of some samples with its confidence interval; all NaN where there are too few samples."""

    median: float
    low: float
    high: float

    def exp(self) -> Interval:
        """The same in the unit of ratios, for samples that are logarithms."""
        return Interval(math.exp(self.median), math.exp(self.low), math.exp(self.high))


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


def mean_interval(samples: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean and its confidence interval by Student's t: for few samples, each of which is already a median.

    The field `median` holds the mean: where single samples fall into two groups (a session whose weights lie well, one
    whose do not), the mean is what settles.

    Returns:
        The interval; `NO_INTERVAL` below three samples, or where one is not finite.
    """
    count = len(samples)
    if count < 3 or not all(math.isfinite(sample) for sample in samples):
        return NO_INTERVAL
    mean = math.fsum(samples) / count
    variance = math.fsum((sample - mean) ** 2 for sample in samples) / (count - 1)
    reach = student_quantile((1 + confidence) / 2, count - 1) * math.sqrt(variance / count)
    return Interval(mean, mean - reach, mean + reach)


def moderated_interval(samples: Sequence[float], spread: float, confidence: float = EARLY_CONFIDENCE) -> Interval:
    """`mean_interval` for one sample and more, whose standard deviation leans on what is known of it.

    As if `PRIOR_WEIGHT` further samples had shown `spread`.

    Args:
        samples: At least one.
        spread: The standard deviation of one sample, as it was measured elsewhere.
        confidence: Probability that the interval holds the true mean.
    """
    count = len(samples)
    if not count or not all(math.isfinite(sample) for sample in samples):
        return NO_INTERVAL
    mean = math.fsum(samples) / count
    freedom = count - 1 + PRIOR_WEIGHT
    squares = math.fsum((sample - mean) ** 2 for sample in samples) + PRIOR_WEIGHT * spread**2
    reach = student_quantile((1 + confidence) / 2, freedom) * math.sqrt(squares / freedom / count)
    return Interval(mean, mean - reach, mean + reach)


def student_quantile(probability: float, freedom: int) -> float:
    """The value that Student's t with `freedom` degrees of freedom stays below with this probability (above 0.5)."""
    low, high = 0.0, 1.0
    while _student(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student(middle, freedom) < probability else (low, middle)
    return high


def _student(t: float, freedom: int) -> float:
    """The distribution function for t >= 0: the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for k in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    if odd:
        inside = 2 / math.pi * (angle + (math.sin(angle) * total if freedom > 1 else 0.0))
    else:
        inside = math.sin(angle) * total
    return 0.5 + inside / 2
