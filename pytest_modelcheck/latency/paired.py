"""Is one run slower than another? Measured side by side, so that a noisy machine yields inconclusive rather than wrong.

Between two jobs the same graph differs by 26 %, within one job by 0.3 %: nothing here is ever compared across time.
Two sessions of one graph differ for as long as they live, by where their memory lies. Repeating runs averages nothing
of that, so `FreshSession` says how a session is opened, and every round opens both again: see `rounds`.

Sessions of one thread are timed by that thread's own processor time: with both cores loaded twice over, 6 s of runs of
one session against itself gave an interval of +-7 % by the wall clock and of +-0.6 % by processor time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.latency.blocks import Clock, NotMeasuredError, no_garbage_collection
from pytest_modelcheck.latency.judgement import SESSION_SPREAD, Judge, Judgement, PairedLatency
from pytest_modelcheck.latency.rounds import FreshSession, measure_rounds
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
        a, b: What to run. A callable or an open session is the same one in every round.
        budget_s: Seconds for everything, warm-up and opening included: of this process's processor time, so that a
            busy machine takes longer instead of measuring less (`rounds.budget_clock`). Where it is spent and the
            estimate misses the bound, three times as much.
        judge: The question, e.g. ``functools.partial(evaluate_speedup, bound=bound)``: measuring stops when it answers
            pass or fail. None: it stops when the interval is narrow.
        clock: Seconds, for the samples and the budget; a test's own clock makes the result exact. None: processor time
            of this thread for two sessions of one thread each, else the wall clock.

    Returns:
        The measurement. A run that raises, a budget too small for a round: verdict `ERROR` with the reason.

    Example:
        ``measure_paired(lambda: slow(x), lambda: fast(x), budget_s=5).ratio`` is 2.0 where `slow` takes twice as long.
    """
    started = (clock or time.perf_counter)()
    both_open = isinstance(a, tuple) and isinstance(b, tuple) and a[0] is not b[0]
    spread = SESSION_SPREAD if both_open else 0.0

    def asked(latency: PairedLatency) -> Judgement:
        assert judge is not None
        return judge(replace(latency, spread=spread))

    try:
        with no_garbage_collection():
            question = None if judge is None else asked
            made = measure_rounds(_fresh(a), _fresh(b), budget_s, question, _is_narrow, clock, started)
            return replace(made, spread=spread)
    except NotMeasuredError as error:
        return _not_measured(str(error), (clock or time.perf_counter)() - started)
    except Exception as error:  # what is timed is anybody's code: whatever it raises is why there is no number
        text = str(error) if isinstance(error, ModelCheckError) else f"{type(error).__name__}: {error}"
        return _not_measured(f"a run failed: {text}", (clock or time.perf_counter)() - started)


def _fresh(runnable: Runnable) -> FreshSession:
    if isinstance(runnable, FreshSession):
        return runnable
    if isinstance(runnable, tuple):
        session, feeds = runnable
        run = session.bind(feeds)
        return FreshSession(lambda: run, own_thread=session.how.threads == 1)
    return FreshSession(lambda: runnable, own_thread=False)


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


def _is_narrow(latency: PairedLatency) -> bool:
    low, high = latency.interval
    return high - low <= 2 * PRECISION * latency.ratio
