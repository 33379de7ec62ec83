"""Two graphs in sessions that are opened again and again: what a single pair of sessions cannot tell apart.

A round opens both sessions, in turns a first and b first, times them in blocks A B B A, and closes them. What lies
between two sessions of one graph (where their memory lies) is drawn again each time, and so it is in the interval: one
round is one sample. At any time two sessions are open.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

from pytest_modelcheck.latency.blocks import Clock, NotMeasuredError, Run, block, log_mean, repeats_for, timed
from pytest_modelcheck.latency.judgement import MIN_ROUNDS, Judge, PairedLatency, evaluate_resolution
from pytest_modelcheck.latency.placement import use_huge_pages
from pytest_modelcheck.latency.run_times import RunTimes, Samples
from pytest_modelcheck.latency.statistics import mean_interval, moderated_interval
from pytest_modelcheck.result import Verdict
from pytest_modelcheck.runtimes import running_time

SPREADS = {True: 0.015, False: 0.04}
"""Standard deviation of a round of equal graphs, with huge pages (0.5 to 1.4 %) and without (3.8 %): `placement`."""

SLOW_S, VERY_SLOW_S = 0.02, 0.25
"""From these run times on, a round takes fewer runs: single runs are steady then, and rounds are long enough."""

ROUNDS_CONFIDENCE = 0.999
"""Of the interval at each look; over the looks of a minute, equal graphs come out slower in under 1 of 200 runs."""

FEWEST_BLOCKS, MOST_BLOCKS = 2, 24
"""Blocks A B B A or B A A B in a round, an even number; of slow runs one is enough.

There are no blocks A A A A in between: whoever ran more often just before is faster for a few runs (MobileNetV3-Small
against itself: by 1.5 to 3 %), so both sides run equally often, and the noise is that of one block over the next."""


STEADY = 0.006
"""Standard error of a round's ratio, from its own samples, from which on more blocks would tell little: the placement
of the sessions alone makes 0.5 to 1.4 %."""

UNSTEADY_ROUND = 1.5
"""Where blocks are not steady, a round times for up to so many times what opening took, instead of a quarter.

With both cores loaded, blocks differed by 4 to 6 %: rounds of 2 blocks by 3 to 6 %, those of 16 by 1 to 1.4 %."""


LONGER = 3.0
"""A measurement whose estimate misses its bound when the budget is spent goes on for so many budgets in all.

On a loaded machine 19 of 26 slowdowns of 5 and 10 % ended unclear after one, their estimates (1.07 to 1.12) right."""

SHARE_OF_WALL = 0.2
"""The least that a second of the wall clock counts in the budget."""


@dataclass(frozen=True, slots=True)
class FreshSession:
    """A session that measuring opens whenever it needs a new one.

    Attributes:
        open: Opens a session and gives what runs it once: ``lambda: open_session(model, ...).bind(feeds)``.
        own_thread: Whether nothing but the calling thread computes in it, as with ``threads=1``: only then does that
            thread's processor time tell what a run takes.
    """

    open: Callable[[], Run]
    own_thread: bool = True


@dataclass(slots=True)
class Rounds:
    """What was measured so far: logarithms of ratios, times in seconds.

    Attributes:
        ratios, null: Of each round: a over b, and one side over itself.
        blocks: In all rounds together.
        huge_pages: Whether the sessions of the last round lie on huge pages.
        a, b: The times behind them.
    """

    ratios: list[float] = field(default_factory=list)
    null: list[float] = field(default_factory=list)
    blocks: int = 0
    huge_pages: bool = False
    a: Samples = field(default_factory=Samples)
    b: Samples = field(default_factory=Samples)


def measure_rounds(
    a: FreshSession,
    b: FreshSession,
    budget_s: float,
    judge: Judge | None,
    is_narrow: Callable[[PairedLatency], bool],
    clock: Clock | None,
    started: float,
) -> PairedLatency:
    """The loop of `measure_paired` over rounds.

    Raises:
        NotMeasuredError: if not even one round fits in the budget.
    """
    done = Rounds()
    if clock is None:
        clock_of_budget, started = budget_clock(), 0.0
    else:
        clock_of_budget = clock
    step = partial(one_round, a, b, done, clock, budget_s)
    return decide(step, done, budget_s, judge, is_narrow, clock_of_budget, started)


def budget_clock() -> Clock:
    """Seconds of this process's processor time, at most those of the wall clock and at least a `SHARE_OF_WALL` of them.

    On a machine that others use, a budget of wall time would be spent waiting; what only sleeps must come to an end.
    """
    began_wall, began = time.perf_counter(), time.process_time()

    def seconds() -> float:
        wall = time.perf_counter() - began_wall
        return min(wall, max(time.process_time() - began, SHARE_OF_WALL * wall))

    return seconds


def decide(
    step: Callable[[], object],
    done: Rounds,
    budget_s: float,
    judge: Judge | None,
    is_narrow: Callable[[PairedLatency], bool],
    wall: Clock,
    started: float,
) -> PairedLatency:
    """Take rounds until `judge` answers or the next one would not fit.

    Where the budget is spent and the estimate misses the bound, `LONGER` times the budget is spent before giving up.

    Args:
        step: Adds one round to `done`: measured now, or recorded before.
        done: Empty.
        wall: The clock that the budget is measured with.
    """
    longer_s = LONGER * budget_s
    look_at: float
    look_at, lasted = 2, [0.0]
    while True:
        began = wall()
        step()
        now = wall()
        lasted = [*lasted[-2:], now - began]
        count, elapsed = len(done.ratios), now - started
        spent = elapsed + max(lasted) > budget_s
        if spent or count >= look_at:
            look_at = math.ceil(1.4 * count)  # few looks: each is a chance to be wrong
            latest = _summary(done, elapsed)
            judged = (judge or evaluate_resolution)(latest)
            clear = judged.verdict in (Verdict.PASS, Verdict.FAIL) if judge else is_narrow(latest)
            if spent and judged.missed and budget_s < longer_s:
                budget_s, look_at = longer_s, math.inf  # one more look, when that is spent
                continue
            if spent or (clear and (judge or count >= MIN_ROUNDS)):
                return replace(latest, verdict=judged.verdict, reason=judged.reason)


def one_round(a: FreshSession, b: FreshSession, done: Rounds, clock: Clock | None, budget_s: float) -> None:
    """Open both, time them, close them; adds one entry to each list of `done`."""
    wall = clock or time.perf_counter
    began = wall()
    run_of: dict[bool, Run] = {}
    for is_b in (True, False) if len(done.ratios) % 2 else (False, True):
        opened, run_s, run_of[is_b] = _opened(b if is_b else a, done.b if is_b else done.a, wall)
        if not done.ratios:
            _refuse_if_too_long(run_s, 2 * opened + 6 * run_s, budget_s)
    run_a, run_b = run_of[False], run_of[True]
    done.huge_pages = clock is None and use_huge_pages()
    sample = clock or (time.thread_time if a.own_thread and b.own_thread else running_time)
    first_block = len(done.ratios) // 2  # of slow runs there may be one block in a round: its order changes, too
    fewest = 1 if run_s > SLOW_S else FEWEST_BLOCKS
    warm_up = () if run_s > VERY_SLOW_S else (run_a, run_b) if run_s > SLOW_S else (run_a, run_b, run_b, run_a)
    repeats = repeats_for(min((timed(run, sample) for run in warm_up), default=run_s))
    now = wall()
    logs_a: list[float] = []
    logs_b: list[float] = []
    differences: list[float] = []
    opening = now - began
    until = now + opening / 4  # longer rounds would be fewer
    at_most = min(now + UNSTEADY_ROUND * opening, began + budget_s / MIN_ROUNDS)

    def goes_on() -> bool:
        count = len(logs_a)
        if count < fewest or (fewest > 1 and count % 2):
            return True
        late = wall()
        return count < MOST_BLOCKS and (late < until or (late < at_most and standard_error(differences) > STEADY))

    while goes_on():
        first, second = block(run_a, run_b, (first_block + len(logs_a)) % 2 == 1, repeats, sample)
        logs_a.append(log_mean(first))
        logs_b.append(log_mean(second))
        differences += [math.log(each[0] / each[1]) for each in (first, second)]
        done.a.add(first, repeats)
        done.b.add(second, repeats)
        if len(logs_a) == 1:
            halves = log_mean(first[:1]) - log_mean(first[1:])
    same = logs_b if len(done.ratios) % 2 else logs_a
    done.ratios.append(median(x - y for x, y in zip(logs_a, logs_b, strict=True)))
    pairs = list(zip(same[::2], same[1::2], strict=False))
    done.null.append(median(x - y for x, y in pairs) if pairs else halves)
    done.blocks += len(logs_a)


def standard_error(differences: Sequence[float]) -> float:
    """Of the mean over blocks of the ratio of both sides, told from what samples of one side differ by.

    Args:
        differences: Logarithms of the ratio of the two samples of a side in a block; two of them for each block.
    """
    blocks = len(differences) / 2
    squares = sum(each * each for each in differences) / len(differences)  # of a difference of two: twice that of one
    return math.sqrt(squares / 2 / blocks)


def _refuse_if_too_long(run_s: float, round_s: float, budget_s: float) -> None:
    if round_s > budget_s:
        raise NotMeasuredError(
            f"one run takes {run_s:.3g} s and a round of two new sessions {round_s:.3g} s: not one fits in the budget "
            f"of {budget_s:g} s (modelcheck_latency_budget)"
        )


def _opened(fresh: FreshSession, samples: Samples, wall: Clock) -> tuple[float, float, Run]:
    """Seconds of opening and of the first run, and what runs the new session."""
    began = wall()
    run = fresh.open()
    opened = wall()
    run()
    seconds = opened - began, wall() - opened
    samples.opened(*seconds)
    return *seconds, run


def _summary(done: Rounds, seconds: float) -> PairedLatency:
    if len(done.ratios) < MIN_ROUNDS:
        known = SPREADS[done.huge_pages]
        interval, noise = (moderated_interval(each, known) for each in (done.ratios, done.null))
    else:
        interval, noise = (mean_interval(each, ROUNDS_CONFIDENCE) for each in (done.ratios, done.null))
    ratio, floor = interval.exp(), noise.exp()
    a, b = RunTimes.of(done.a), RunTimes.of(done.b)
    return PairedLatency(
        ratio=ratio.median,
        interval=(ratio.low, ratio.high),
        noise=(floor.low, floor.high),
        pairs=done.blocks,
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        a_ms=a.p50_ms,
        b_ms=b.p50_ms,
        seconds=seconds,
        rounds=len(done.ratios),
        a_times=a,
        b_times=b,
    )
