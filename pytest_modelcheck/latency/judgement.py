"""What a paired measurement says, and what it says about a bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.latency.run_times import RunTimes
from pytest_modelcheck.result import Verdict

SESSION_SPREAD = 0.07
"""Two onnxruntime sessions of one and the same graph differ by up to 6.8 % for as long as they live: where their packed
weights lie in memory is decided when they are made (13 pairs of sessions, BERT with 4 layers, processor time)."""


MIN_ROUNDS = 4
"""Fewer rounds of new sessions never fail a graph. They may pass one, by an interval that leans on what sessions of one
graph are known to differ by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLatency:
    """How long `a` takes relative to `b`.

    Attributes:
        ratio: Time of a / time of b: the mean over the rounds. 1.05: a takes 5 % more.
        interval: Confidence interval of `ratio` over the rounds: 99.9 %. It holds what equal graphs differ by.
        noise: The same interval for a against a, measured in between: what this machine makes of a ratio that is 1.
        pairs: How many ratios were measured; one is four runs.
        verdict: Of the question that was asked. Without a question: `PASS` if the difference is larger than the noise,
            `INCONCLUSIVE` if not. `ERROR` if nothing could be measured; ratio, interval and noise are NaN then.
        reason: The verdict in words.
        a_ms, b_ms: Median milliseconds of one run.
        seconds: What the measurement took.
        spread: How much two equal contestants may differ for reasons that no repetition averages out, as a share:
            `SESSION_SPREAD` for two sessions that stay open, 0.0 for fresh ones. `FAIL` needs a difference beyond it.
        spread_of: What differs by so much, in words.
        rounds: How often both were opened and timed; 0 where nothing was measured.
        a_times, b_times: Opening, first run and percentiles.
    """

    ratio: float
    interval: tuple[float, float]
    noise: tuple[float, float]
    pairs: int
    verdict: Verdict
    reason: str
    a_ms: float
    b_ms: float
    seconds: float
    spread: float = 0.0
    spread_of: str = "two sessions of one and the same graph"
    rounds: int = 0
    a_times: RunTimes | None = None
    b_times: RunTimes | None = None

    @property
    def noise_floor(self) -> float:
        """The largest relative deviation from 1 inside `noise`: 0.004 is 0.4 %."""
        return math.expm1(max(abs(math.log(end)) for end in self.noise))


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a measurement says about a bound, and why; `missed` where it is inconclusive and the estimate is outside."""

    verdict: Verdict
    reason: str
    missed: bool = False


Judge = Callable[[PairedLatency], Judgement]


def evaluate_speedup(latency: PairedLatency, bound: Bound) -> Judgement:
    """Judge `ratio` by a bound such as ``>=1.02``: a is what was, b what is; 1.02 is b taking 1/1.02 of the time."""
    return _evaluate(latency, bound, lambda ratio: ratio, "speedup", "x")


def evaluate_regression(latency: PairedLatency, bound: Bound) -> Judgement:
    """Judge ``100 * (ratio - 1)`` by a bound such as ``<=5%``: a is what is, b the baseline; 5 % is a taking 1.05 b."""
    return _evaluate(latency, bound, lambda ratio: 100 * (ratio - 1), "regression", " %")


def _evaluate(
    latency: PairedLatency, bound: Bound, unit: Callable[[float], float], subject: str, suffix: str
) -> Judgement:
    if latency.verdict is Verdict.ERROR or math.isnan(latency.ratio):
        return Judgement(Verdict.ERROR, latency.reason or "nothing was measured")
    low, value, high = (unit(ratio) for ratio in (latency.interval[0], latency.ratio, latency.interval[1]))
    said = f"{subject} {value:.4g}{suffix}, between {low:.4g} and {high:.4g}{suffix}"
    if bound.holds(low) and bound.holds(high):
        return Judgement(Verdict.PASS, said)
    if high < bound.low or low > bound.high:
        if unit(latency.interval[1] * (1 + latency.spread)) < bound.low or (
            unit(latency.interval[0] / (1 + latency.spread)) > bound.high
        ):
            if 0 < latency.rounds < MIN_ROUNDS:
                needed = f"about {latency.seconds / latency.rounds * MIN_ROUNDS:.3g} s"
                reason = f"{said}; {MIN_ROUNDS} rounds at least are needed to say so, {needed}"
                return Judgement(Verdict.INCONCLUSIVE, reason, missed=True)
            return Judgement(Verdict.FAIL, said)
        equal = f"{latency.spread_of} differ by up to {100 * latency.spread:g} %"
        return Judgement(Verdict.INCONCLUSIVE, f"{said}; {equal}", missed=True)
    ends = [end for end in (bound.low, bound.high) if math.isfinite(end)]
    distance = min(abs(value - end) for end in ends) if ends else 0.0
    reason = f"{said}; {_needed(latency, distance, (high - low) / 2)}"
    return Judgement(Verdict.INCONCLUSIVE, reason, missed=not bound.holds(value))


def _needed(latency: PairedLatency, distance: float, reach: float) -> str:
    if distance <= reach / 20:
        return "the noise is larger than the difference, and no length of run would tell"
    seconds = latency.seconds * (reach / distance) ** 2  # an interval shrinks with the square root of its samples
    return f"the noise is larger than the difference: about {seconds:.0f} s of measuring would tell"


def evaluate_resolution(latency: PairedLatency) -> Judgement:
    """Without a bound: pass where the difference is larger than the noise, inconclusive where it is not."""
    low, high = latency.interval
    said = f"ratio {latency.ratio:.4g}, between {low:.4g} and {high:.4g}"
    if abs(latency.ratio - 1) > latency.noise_floor and not low <= 1 <= high:
        return Judgement(Verdict.PASS, f"{said}; noise {100 * latency.noise_floor:.2g} %")
    return Judgement(Verdict.INCONCLUSIVE, f"{said}: within the noise of {100 * latency.noise_floor:.2g} %")
