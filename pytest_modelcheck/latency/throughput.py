"""How many examples a graph takes in a second, at several batch sizes: figures, measured one after the other.

Wall time, whatever the number of threads: a throughput that leaves waiting out is none. So these figures say what this
machine does now; no bound is put on them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from pytest_modelcheck.latency.blocks import Clock, Run, repeats_for, timed
from pytest_modelcheck.latency.run_times import UntimedError

SAMPLES = 7
SECONDS = 2.0
"""Of one size and graph, after which no further sample is taken."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Examples per second at one batch size."""

    size: int
    exported: float
    optimized: float

    def __str__(self) -> str:
        return f"batch {self.size}: {self.exported:.4g} -> {self.optimized:.4g} per s"


def per_second(run: Run, size: int, *, clock: Clock = time.perf_counter) -> float:
    """Examples per second of a run that takes `size` of them: from the median of up to `SAMPLES` samples.

    Raises:
        UntimedError: if a run takes no time by this clock.
    """
    run()  # allocates
    repeats = repeats_for(timed(run, clock))
    began, taken = clock(), list[float]()
    while not taken or (len(taken) < SAMPLES and clock() - began < SECONDS):
        taken.append(timed(run, clock, repeats) / repeats)
    if median(taken) <= 0:
        raise UntimedError("a run took no time: the clock is too coarse for it")
    return size / median(taken)
