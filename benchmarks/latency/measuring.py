"""Recording rounds, making verdicts of recorded ones, and what else the machine did meanwhile."""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import numpy as np

from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.latency import FreshSession, PairedLatency, evaluate_regression
from pytest_modelcheck.latency.blocks import no_garbage_collection
from pytest_modelcheck.latency.rounds import Rounds, decide, one_round


@dataclass(slots=True)
class Recorded:
    """Rounds of one pair of graphs, in the order they were taken: logarithms of ratios, and seconds of each."""

    ratios: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def really(self) -> tuple[float, float]:
        """How much longer a takes, in percent, and the standard error."""
        spread = statistics.stdev(self.ratios) / math.sqrt(len(self.ratios))
        return 100 * math.expm1(statistics.fmean(self.ratios)), 100 * spread


def record(a: FreshSession, b: FreshSession, seconds: float) -> Recorded:
    """Rounds for so long; the first one, which finds nothing in any cache, is left out."""
    done = Rounds()
    lasted: list[float] = []
    until = time.perf_counter() + seconds
    with no_garbage_collection():
        while time.perf_counter() < until or len(lasted) < 3:
            began = time.perf_counter()
            one_round(a, b, done, None, math.inf)
            lasted.append(time.perf_counter() - began)
    return Recorded(done.ratios[1:], lasted[1:])


BLOCK = 5
"""Recorded rounds that follow each other in a replayed verdict."""


def replayed(recorded: Recorded, bound: str, budget: float, random: Random, exchanged: bool) -> PairedLatency:
    """One verdict of the gate from recorded rounds, drawn with replacement in blocks of `BLOCK` neighbours.

    In blocks, because what a busy second does to a round it may do to the next one, too: single rounds, drawn one by
    one, would be more independent than those of a run.

    Args:
        exchanged: Half of the blocks change sides. Of equal graphs both sides are one, and the true ratio is then 1;
            as recorded, their mean is off by its standard error.
    """
    done, now = Rounds(huge_pages=True), 0.0
    done.a.steady.append(1.0)
    done.b.steady.append(1.0)
    index, sign = 0, 1

    def step() -> None:
        nonlocal now, index, sign
        if len(done.ratios) % BLOCK == 0:
            index, sign = random.randrange(len(recorded.ratios)), random.choice((-1, 1)) if exchanged else 1
        done.ratios.append(sign * recorded.ratios[index])
        done.null.append(0.0)
        done.blocks += 1
        now += recorded.seconds[index]
        index = (index + 1) % len(recorded.ratios)

    judge = partial(evaluate_regression, bound=parse_bound(bound))
    return decide(step, done, budget, judge, lambda latency: False, lambda: now, 0.0)


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Other processes that each load one core."""
    processes = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _burn() -> None:
    a = np.random.default_rng(0).standard_normal(160_000)
    while True:  # element by element: a product of matrices would take every core
        np.tanh(a, out=a)
        a += 1.0


class Foreign:
    """How many cores processes other than this one and its children keep busy; for a `with` block around them."""

    cores: float = math.nan

    def __enter__(self) -> Foreign:
        self._began, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        foreign = (_busy_seconds() - self._busy) - (_own_seconds() - self._own)
        self.cores = max(0.0, foreign / (time.perf_counter() - self._began))


def _busy_seconds() -> float:
    """Processor seconds of all processes since the system started; NaN where there is no Linux proc file system."""
    try:
        user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    except OSError:
        return math.nan
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    return sum(os.times()[:4])
