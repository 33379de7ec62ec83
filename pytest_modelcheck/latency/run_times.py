"""What runs of one side took: opening, first run, and the distribution of the steady state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from pytest_modelcheck.errors import ModelCheckError


class UntimedError(ModelCheckError):
    """There is no time; the message says why."""


@dataclass(slots=True)
class Samples:
    """Times of one side, in seconds."""

    opening: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)

    def opened(self, opening: float, first: float) -> None:
        """A session was opened, and ran for the first time."""
        self.opening.append(opening)
        self.first.append(first)

    def add(self, seconds: Sequence[float], repeats: int) -> None:
        """Samples of `repeats` runs each."""
        self.steady += [each / repeats for each in seconds]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
    """Milliseconds of one side.

    Attributes:
        opening_ms: Median wall time of opening the session; NaN where none was opened.
        first_ms: Median wall time of a session's first run, which allocates.
        p50_ms, p95_ms, p99_ms: Of a run after that: in processor time for sessions of one thread, else wall time. Runs
            below a millisecond are timed several at a time, which hides their tail.
    """

    opening_ms: float
    first_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, samples: Samples) -> RunTimes:
        """The figures of what was timed."""
        p50, p95, p99 = 1000 * np.percentile(samples.steady, (50, 95, 99)) if samples.steady else [math.nan] * 3
        return cls(
            opening_ms=1000 * median(samples.opening) if samples.opening else math.nan,
            first_ms=1000 * median(samples.first) if samples.first else math.nan,
            p50_ms=float(p50),
            p95_ms=float(p95),
            p99_ms=float(p99),
        )

    def __str__(self) -> str:
        opened = f"opened in {self.opening_ms:.0f} ms, first run {self.first_ms:.2f} ms, then "
        tail = f"p50 {self.p50_ms:.2f}, p95 {self.p95_ms:.2f}, p99 {self.p99_ms:.2f} ms"
        return tail if math.isnan(self.opening_ms) else opened + tail
