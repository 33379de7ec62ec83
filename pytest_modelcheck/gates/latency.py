"""``expect_latency``: the optimized graph against the exported one, interleaved in the same minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, named_bound
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


@dataclass(frozen=True, slots=True)
class ExpectLatency:
    """A bound on time of the exported graph / time of the optimized graph."""

    speedup: Bound


def parse(speedup: Any) -> ExpectLatency:
    """exported time / optimized time lies in this bound, e.g. speedup=">=0.98"; both run in onnxruntime, interleaved

    Raises:
        BoundError: on a bound that cannot be read, or is no plain number.
    """
    bound = named_bound("speedup", speedup)
    if bound.percent or bound.whole is not None:
        raise BoundError(f'speedup={speedup!r}: write a ratio, e.g. speedup=">=1.02"')
    return ExpectLatency(bound)


def check(modelcheck: ModelCheck, expectation: ExpectLatency) -> GateResult:
    """Measure until the answer is clear or the budget is spent."""
    from pytest_modelcheck.performance import evaluate_speedup

    latency = modelcheck.latency(expectation.speedup)
    judgement = evaluate_speedup(latency, expectation.speedup)
    low, high = latency.interval
    measured = f"speedup {latency.ratio:.3f} [{low:.3f}, {high:.3f}], {latency.pairs} pairs" if latency.pairs else ""
    if judgement.verdict is Verdict.PASS:
        return GateResult(gate=GATE.name, measured=measured)
    finding = Finding(
        gate=GATE.name,
        model=modelcheck.label,
        subject="speedup",
        expected=str(expectation.speedup),
        found=judgement.reason,
        context=modelcheck.stage_context("optimized"),
        where=_where(latency) if latency.pairs else (),
        next=_NEXT[judgement.verdict],
        verdict=judgement.verdict,
    )
    return GateResult(gate=GATE.name, measured=measured, findings=(finding,))


def _where(latency: Any) -> tuple[str, ...]:
    low, high = latency.noise
    return (
        f"exported {latency.a_ms:.2f} ms, optimized {latency.b_ms:.2f} ms in onnxruntime at its default level",
        f"{latency.pairs} pairs in {latency.seconds:.0f} s; exported against itself measured {low:.3f} to {high:.3f}",
    )


_NEXT = {
    Verdict.FAIL: "Compare the attribution and module snapshots for what changed; if it is meant, change the marker.",
    Verdict.INCONCLUSIVE: "Run on a quieter machine, raise modelcheck_latency_budget, or ask for less; "
    "modelcheck_inconclusive decides whether this fails.",
    Verdict.ERROR: "Nothing was measured, so nothing passed.",
}

GATE = Gate("expect_latency", parse, check)
