"""Timing runs in blocks: what callables and freshly opened sessions share."""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Callable, Iterator, Sequence

Clock = Callable[[], float]
"""Seconds, from any start."""

Run = Callable[[], object]

SAMPLE_SECONDS = 0.001
"""Runs shorter than this are repeated within one sample: the clock and the call around it cost about a microsecond."""


class NotMeasuredError(Exception):
    """There will be no number; the message says why."""


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect now, and not while the block runs."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def repeats_for(shortest: float) -> int:
    """How many runs make one sample of at least `SAMPLE_SECONDS`, for runs of `shortest` seconds."""
    return max(1, math.ceil(SAMPLE_SECONDS / shortest)) if shortest > 0 else 1000


def timed(run: Run, clock: Clock, repeats: int = 1) -> float:
    """Seconds that `repeats` runs take together."""
    began = clock()
    for _ in range(repeats):
        run()
    return clock() - began


def block(a: Run, b: Run, b_first: bool, repeats: int, clock: Clock) -> tuple[list[float], list[float]]:
    """One block A B B A, or B A A B: seconds per sample of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for side in (1, 0, 0, 1) if b_first else (0, 1, 1, 0):
        times[side].append(timed(b if side else a, clock, repeats))
    return times


def log_mean(times: Sequence[float]) -> float:
    """The mean of the logarithms.

    Raises:
        NotMeasuredError: if a sample took no time.
    """
    if min(times) <= 0:
        raise NotMeasuredError(f"a sample took {min(times):g} s: the clock is too coarse for these runs")
    return sum(math.log(seconds) for seconds in times) / len(times)
