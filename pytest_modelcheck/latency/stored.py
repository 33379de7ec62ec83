"""Milliseconds that an earlier run stored: for one machine and the versions on it, and never compared across them.

A weaker question than a locked graph timed beside today's: what the machine itself does between two runs is in the
answer. Between two jobs one and the same graph differed by 26 % (`BETWEEN_RUNS`), so less than that fails nothing.
"""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, variance

from pytest_modelcheck.latency.blocks import Clock, no_garbage_collection, repeats_for, timed
from pytest_modelcheck.latency.judgement import MIN_ROUNDS, PairedLatency
from pytest_modelcheck.latency.placement import use_huge_pages
from pytest_modelcheck.latency.rounds import ROUNDS_CONFIDENCE, FreshSession
from pytest_modelcheck.latency.run_times import RunTimes, Samples, UntimedError
from pytest_modelcheck.latency.statistics import student_quantile
from pytest_modelcheck.result import Verdict
from pytest_modelcheck.store import Store, numeric_environment

BETWEEN_RUNS = 0.26
"""What two runs of one and the same graph, in two jobs on equal machines, were seen to differ by."""

MOST_SESSIONS, SAMPLES = 12, 9
"""Sessions that are opened, and samples of each."""

_KIND = "time"


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """What one graph takes.

    Attributes:
        ms: Milliseconds of a run, one figure for each session that was opened: the geometric mean of its samples.
        times: Opening, first run and percentiles.
        seconds: What measuring took.
    """

    ms: tuple[float, ...]
    times: RunTimes
    seconds: float


def session_times(fresh: FreshSession, budget_s: float, *, clock: Clock | None = None) -> SessionTimes:
    """Open the session `MOST_SESSIONS` times, or as often as the budget allows, and time each.

    Args:
        budget_s: Wall time in seconds for everything.
        clock: As for `measure_paired`.

    Raises:
        UntimedError: if the budget is too short for `MIN_ROUNDS` sessions, or the clock too coarse for a run.
    """
    wall = clock or time.perf_counter
    sample = clock or (time.thread_time if fresh.own_thread else time.perf_counter)
    started = wall()
    samples, ms, lasted = Samples(), list[float](), 0.0
    with no_garbage_collection():
        while len(ms) < MOST_SESSIONS and wall() - started + lasted <= budget_s:
            began = wall()
            run = fresh.open()
            opened = wall()
            run()
            samples.opened(opened - began, wall() - opened)
            if clock is None:
                use_huge_pages()
            repeats = repeats_for(timed(run, sample))
            taken = [timed(run, sample, repeats) for _ in range(SAMPLES)]
            samples.add(taken, repeats)
            if min(taken) <= 0:
                raise UntimedError(f"a sample took {min(taken):g} s: the clock is too coarse for these runs")
            ms.append(1000 * math.exp(fmean(map(math.log, taken))) / repeats)
            lasted = wall() - began
    if len(ms) < MIN_ROUNDS:
        raise UntimedError(
            f"{len(ms)} sessions were timed, {MIN_ROUNDS} are needed; that takes about {MIN_ROUNDS * lasted:.3g} s, "
            f"the budget is {budget_s:g} s (modelcheck_latency_budget)"
        )
    return SessionTimes(tuple(ms), RunTimes.of(samples), wall() - started)


@dataclass(frozen=True, slots=True)
class StoredTimes:
    """Times in a folder, one file for each model, machine and set of versions."""

    folder: Path

    def find(self, key: Mapping[str, str]) -> tuple[float, ...] | None:
        """Milliseconds per session that were stored under exactly this key; None where none were."""
        found = self._store.find(_KIND, key)
        return None if found is None else found.value

    def store(self, key: Mapping[str, str], ms: Sequence[float]) -> Path:
        """Store them instead of what was there; the file. A folder that cannot be written to keeps nothing."""
        self._store.keep(_KIND, key, tuple(ms))
        return self.file(key)

    def file(self, key: Mapping[str, str]) -> Path:
        """Where times of this key are stored."""
        return self._store.place(_KIND, key).with_suffix(".json")

    def differences(self, key: Mapping[str, str]) -> tuple[str, ...]:
        """In what the times that are stored of the same model differ from `key`, one line for each of them."""
        lines = []
        for other in self._store.keys(_KIND):
            if other.get("model") == key["model"] and other != dict(key):
                changed = [name for name in key if other.get(name) != key[name]]
                lines.append(", ".join(f"{name} {other.get(name)}, now {key[name]}" for name in changed))
        return tuple(lines)

    @property
    def _store(self) -> Store:
        return Store(self.folder)


def time_key(model: str, graph: str, threads: int, provider: str, versions: Mapping[str, str]) -> dict[str, str]:
    """What times are stored under.

    Args:
        model: The case and what made its graph, e.g. ``"bert-base (dynamo, target portable)"``.
        graph: Shapes that it was run with.
        versions: Library -> version.
    """
    processor = numeric_environment()["processor"].partition(";")[0]
    return {
        "model": model,
        "inputs": graph,
        "machine": f"{platform.node()} ({processor}, {os.cpu_count()} cores)",
        "system": f"{platform.system()} {platform.release()}",
        "threads": str(threads),
        "provider": provider,
        **{f"version of {name}": version for name, version in versions.items()},
    }


def compare_stored(now: SessionTimes, then: Sequence[float]) -> PairedLatency:
    """Today's time over the stored one, as a measurement that `evaluate_regression` judges.

    Args:
        then: Milliseconds per session, at least `MIN_ROUNDS` of them.
    """
    logs_now, logs_then = ([math.log(ms) for ms in each] for each in (now.ms, then))
    difference = fmean(logs_now) - fmean(logs_then)
    reach = _reach(logs_now, logs_then)
    own = _reach(logs_now, logs_now)
    return PairedLatency(
        ratio=math.exp(difference),
        interval=(math.exp(difference - reach), math.exp(difference + reach)),
        noise=(math.exp(-own), math.exp(own)),
        pairs=len(now.ms),
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        a_ms=median(now.ms),
        b_ms=median(then),
        seconds=now.seconds,
        spread=BETWEEN_RUNS,
        spread_of="two runs of one and the same graph, one after the other,",
        rounds=len(now.ms),
        a_times=now.times,
    )


def _reach(x: Sequence[float], y: Sequence[float]) -> float:
    """Half of the interval of a difference of means: Welch's, with the smaller side's degrees of freedom."""
    freedom = min(len(x), len(y)) - 1
    quantile = student_quantile((1 + ROUNDS_CONFIDENCE) / 2, freedom)
    return quantile * math.sqrt(variance(x) / len(x) + variance(y) / len(y))
