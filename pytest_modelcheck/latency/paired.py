"""Is one run slower than another? Measured side by side, so that a noisy machine makes it unsure instead of wrong.

Between two jobs the same graph differs by 26 %, within one job by 0.3 %: nothing here is ever compared across time.
Runs are taken in blocks A B B A (then B A A B): what drifts slowly hits both sides alike. Each block gives one ratio;
blocks of A against itself, in between, measure what the machine does to a ratio that is 1.

Two sessions of one graph differ for as long as they live, by where their memory lies. Repeating runs averages nothing
of that, so `FreshSession` says how a session is opened, and measuring opens it again and again: see `rounds`.

Sessions of one thread are timed by that thread's own processor time: with both cores loaded twice over, 6 s of runs of
one session against itself gave an interval of +-7 % by the wall clock and of +-0.6 % by processor time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.latency.blocks import (
    Clock,
    NotMeasuredError,
    Run,
    block,
    log_mean,
    no_garbage_collection,
    repeats_for,
    timed,
)
from pytest_modelcheck.latency.judgement import SESSION_SPREAD, Judge, PairedLatency, evaluate_resolution
from pytest_modelcheck.latency.rounds import FreshSession, measure_rounds
from pytest_modelcheck.latency.statistics import MIN_PAIRS, median_interval
from pytest_modelcheck.result import Verdict
from pytest_modelcheck.runtimes import Session

Runnable = Callable[[], object] | tuple[Session, Mapping[str, Any]] | FreshSession
"""A callable without arguments, an open session with its feeds, or how to open a session."""

PRECISION = 0.0025
"""Half width of the interval at which a measurement without a question stops: 0.25 %."""

_NAN_PAIR = (math.nan, math.nan)


def measure_paired(
    a: Runnable,
    b: Runnable,
    *,
    budget_s: float = 20.0,
    judge: Judge | None = None,
    clock: Clock | None = None,
) -> PairedLatency:
    """Time `a` against `b`, interleaved, until the answer is clear or the budget is spent.

    Args:
        a, b: What to run: callables, sessions with their feeds, or (both of them) `FreshSession`.
        budget_s: Wall time in seconds for everything, warm-up and opening included.
        judge: The question, e.g. ``functools.partial(evaluate_speedup, bound=bound)``: measuring stops when it answers
            pass or fail. None: it stops when the interval is narrow.
        clock: Seconds, for the samples and the budget; a test's own clock makes the result exact. None: processor time
            of this thread for two sessions of one thread each, else the wall clock; the budget is wall time.

    Returns:
        The measurement. A run that raises, a budget too small for an interval: verdict `ERROR` with the reason.
    """
    wall = clock or time.perf_counter
    started = wall()
    try:
        with no_garbage_collection():
            if isinstance(a, FreshSession) and isinstance(b, FreshSession):
                return measure_rounds(a, b, budget_s, judge, _is_narrow, clock, started)
            own_thread = _runs_in_this_thread(a) and _runs_in_this_thread(b)
            sample = clock or (time.thread_time if own_thread else time.perf_counter)
            return _measure(_callable(a), _callable(b), started, budget_s, judge, sample, wall, _spread(a, b))
    except NotMeasuredError as error:
        return _not_measured(str(error), wall() - started)
    except Exception as error:  # what is timed is anybody's code: whatever it raises is why there is no number
        text = str(error) if isinstance(error, ModelCheckError) else f"{type(error).__name__}: {error}"
        return _not_measured(f"a run failed: {text}", wall() - started)


def _spread(a: Runnable, b: Runnable) -> float:
    """What two different sessions may differ by although their graphs are equal; a session against itself does not."""
    both = isinstance(a, tuple) and isinstance(b, tuple) and a[0] is not b[0]
    return SESSION_SPREAD if both else 0.0


def _runs_in_this_thread(runnable: Runnable) -> bool:
    """Whether nothing but the calling thread computes: only then does its processor time tell what a run takes."""
    return isinstance(runnable, tuple) and runnable[0].how.threads == 1


def _not_measured(reason: str, seconds: float) -> PairedLatency:
    return PairedLatency(
        ratio=math.nan,
        interval=_NAN_PAIR,
        noise=_NAN_PAIR,
        pairs=0,
        verdict=Verdict.ERROR,
        reason=reason,
        a_ms=math.nan,
        b_ms=math.nan,
        seconds=seconds,
    )


def _callable(runnable: Runnable) -> Run:
    if isinstance(runnable, FreshSession):
        raise NotMeasuredError("a FreshSession can only be measured against another one")
    if isinstance(runnable, tuple):
        session, feeds = runnable
        return session.bind(feeds)
    return runnable


def _measure(
    a: Run,
    b: Run,
    started: float,
    budget_s: float,
    judge: Judge | None,
    clock: Clock,
    wall: Clock,
    spread: float,
) -> PairedLatency:
    repeats = _warm_up(a, b, started, budget_s, clock, wall)
    pairs: list[float] = []
    null: list[float] = []
    times_a: list[float] = []
    times_b: list[float] = []
    look_at = MIN_PAIRS
    block_began = wall()
    while True:
        turn = len(pairs) + len(null)
        null_turn = _is_null(turn)
        other = a if null_turn else b
        swapped = len(null if null_turn else pairs) % 2 == 1
        times_first, times_second = block(a, other, swapped, repeats, clock)
        ratio = log_mean(times_first) - log_mean(times_second)
        (null if null_turn else pairs).append(ratio)
        times_a += times_first
        times_b += [] if null_turn else times_second
        now = wall()
        block_seconds, block_began = now - block_began, now
        spent = now - started + block_seconds > budget_s  # the next block would not fit
        if spent or (len(pairs) >= look_at and len(null) >= MIN_PAIRS):
            look_at = math.ceil(1.4 * len(pairs))  # few looks: each is a chance to be wrong
            latest = _summary(spread, pairs, null, times_a, times_b, repeats, now - started, budget_s)
            judged = (judge or evaluate_resolution)(latest)
            clear = judged.verdict in (Verdict.PASS, Verdict.FAIL) if judge else _is_narrow(latest)
            if spent or clear:
                return replace(latest, verdict=judged.verdict, reason=judged.reason)


def _is_null(turn: int) -> bool:
    """Whether a block is a against itself: in turns until both have enough for an interval, every third one then."""
    return turn % 2 == 1 if turn < 2 * MIN_PAIRS else turn % 3 == 2


def _is_narrow(latency: PairedLatency) -> bool:
    low, high = latency.interval
    return high - low <= 2 * PRECISION * latency.ratio


def _warm_up(a: Run, b: Run, started: float, budget_s: float, clock: Clock, wall: Clock) -> int:
    """Run both a few times; returns how many runs make one sample."""
    shortest = math.inf
    for index in range(3):
        for run in (a, b):
            seconds = timed(run, clock)
            if wall() - started > budget_s:
                raise NotMeasuredError(
                    f"one run takes {seconds:.3g} s; {MIN_PAIRS} pairs need about {_needed_seconds(seconds):.0f} s, "
                    f"the budget is {budget_s:g} s"
                )
            if index:  # the first run allocates
                shortest = min(shortest, seconds)
    return repeats_for(shortest)


def _needed_seconds(run_seconds: float) -> float:
    return run_seconds * (4 * 2 * MIN_PAIRS + 6)


def _summary(
    spread: float,
    pairs: Sequence[float],
    null: Sequence[float],
    times_a: Sequence[float],
    times_b: Sequence[float],
    repeats: int,
    seconds: float,
    budget_s: float,
) -> PairedLatency:
    interval, noise = median_interval(pairs), median_interval(null)
    if math.isnan(interval.median) or math.isnan(noise.median):
        per_run = (sum(times_a) + sum(times_b)) / (repeats * (len(times_a) + len(times_b)))
        raise NotMeasuredError(
            f"too few pairs: {len(pairs)} and {len(null)} of a against itself, {MIN_PAIRS} of each are needed; "
            f"that takes about {_needed_seconds(per_run * repeats):.0f} s, the budget is {budget_s:g} s"
        )
    ratio, floor = interval.exp(), noise.exp()
    return PairedLatency(
        ratio=ratio.median,
        interval=(ratio.low, ratio.high),
        noise=(floor.low, floor.high),
        pairs=len(pairs),
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        a_ms=1000 * median(times_a) / repeats,
        b_ms=1000 * median(times_b) / repeats,
        seconds=seconds,
        spread=spread,
    )
