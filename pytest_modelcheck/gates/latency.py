"""``expect_latency``: the optimized graph against the exported or a locked one, side by side in the same minute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.performance import Judgement, PairedLatency


@dataclass(frozen=True, slots=True)
class ExpectLatency:
    """Bounds on exported time / optimized time, and on what the optimized graph takes more than the locked one."""

    speedup: Bound | None
    regression: Bound | None = None
    threads: int = 1


def parse(speedup: Any = None, regression: Any = None, threads: int = 1) -> ExpectLatency:
    """exported / optimized time, e.g. speedup=">=0.98"; or loss against the locked graph, e.g. regression="<=5%"

    Raises:
        BoundError: on a bound that cannot be read, or has the wrong unit.
        MarkerError: when nothing is expected, or on a number of threads that is none.
    """
    if speedup is None and regression is None:
        raise MarkerError('expects nothing; write e.g. speedup=">=0.98" or regression="<=5%"')
    if type(threads) is not int or threads < 1:
        raise MarkerError(f"threads={threads!r}: write a number of intra-op threads, 1 or more")
    return ExpectLatency(_ratio(speedup), _percent(regression), threads)


def _ratio(expected: Any) -> Bound | None:
    if expected is None:
        return None
    bound = named_bound("speedup", expected)
    if bound.percent or bound.whole is not None:
        raise BoundError(f'speedup={expected!r}: write a ratio, e.g. speedup=">=1.02"')
    return bound


def _percent(expected: Any) -> Bound | None:
    if expected is None:
        return None
    bound = named_bound("regression", expected)
    if not bound.percent:
        raise BoundError(f'regression={expected!r}: write a percentage, e.g. regression="<=5%"')
    return bound


def check(modelcheck: ModelCheck, expectation: ExpectLatency) -> GateResult:
    """Measure until each answer is clear or its budget is spent."""
    results = []
    if expectation.speedup is not None:
        results.append(_speedup(modelcheck, expectation.speedup, expectation.threads))
    if expectation.regression is not None:
        results.append(_regression(modelcheck, expectation.regression, expectation.threads))
    return GateResult(
        gate=GATE.name,
        measured=", ".join(filter(None, (result.measured for result in results))),
        findings=tuple(finding for result in results for finding in result.findings),
    )


def _speedup(modelcheck: ModelCheck, bound: Bound, threads: int) -> GateResult:
    from pytest_modelcheck.performance import evaluate_speedup

    latency = modelcheck.latency(bound, threads=threads)
    judgement = evaluate_speedup(latency, bound)
    low, high = latency.interval
    measured = f"speedup {latency.ratio:.3f} [{low:.3f}, {high:.3f}], {_effort(latency)}" if latency.pairs else ""
    where = _where(latency, "exported", "optimized", threads)
    return _result(modelcheck, "speedup", bound, measured, judgement, where, _NEXT.get(judgement.verdict, ""))


def _regression(modelcheck: ModelCheck, bound: Bound, threads: int) -> GateResult:
    from pytest_modelcheck.performance import evaluate_regression

    locked = modelcheck.recorded("baseline") if modelcheck.recorded is not None else None
    if locked is None:
        return _result(modelcheck, "regression", bound, "", None, (), _LOCK)
    latency, notes = modelcheck.regression(bound, locked, threads=threads)
    judgement = evaluate_regression(latency, bound)
    low, high = (100 * (end - 1) for end in latency.interval)
    measured = ""
    if latency.pairs:
        measured = f"regression {100 * (latency.ratio - 1):+.1f}% [{low:+.1f}, {high:+.1f}], {_effort(latency)}"
        measured += f" ({'; '.join(notes)})" if notes else ""
    where = (*_where(latency, "today's", "the locked graph", threads), *notes)
    if judgement.verdict is Verdict.FAIL:
        where = (*modelcheck.slower_modules(locked), *where)
    return _result(modelcheck, "regression", bound, measured, judgement, where, _NEXT_LOCKED.get(judgement.verdict, ""))


def _result(
    modelcheck: ModelCheck,
    subject: str,
    bound: Bound,
    measured: str,
    judgement: Judgement | None,
    where: tuple[str, ...],
    step: str,
) -> GateResult:
    if judgement is not None and judgement.verdict is Verdict.PASS:
        return GateResult(gate=GATE.name, measured=measured)
    finding = Finding(
        gate=GATE.name,
        model=modelcheck.label,
        subject=subject,
        expected=str(bound),
        found="no locked graph to compare with" if judgement is None else judgement.reason,
        context=modelcheck.stage_context("optimized"),
        where=where,
        next=step,
        verdict=Verdict.ERROR,
    )
    if judgement is not None:
        finding = replace(finding, verdict=judgement.verdict)
    return GateResult(gate=GATE.name, measured=measured, findings=(finding,))


def _effort(latency: PairedLatency) -> str:
    return f"{latency.rounds} rounds" if latency.rounds else f"{latency.pairs} pairs"


def _where(latency: PairedLatency, a: str, b: str, threads: int) -> tuple[str, ...]:
    if not latency.pairs:
        return ()
    low, high = latency.noise
    on = "" if threads == 1 else f", {threads} threads"
    return (
        f"{a} {latency.a_ms:.2f} ms, {b} {latency.b_ms:.2f} ms in onnxruntime at its default level{on}",
        f"{_effort(latency)} in {latency.seconds:.0f} s; {a} against itself measured {low:.3f} to {high:.3f}",
        *(f"{name}: {times}" for name, times in ((a, latency.a_times), (b, latency.b_times)) if times is not None),
    )


_QUIETER = (
    "Run on a quieter machine, raise modelcheck_latency_budget, or ask for less; "
    "modelcheck_inconclusive decides whether this fails."
)
_NEXT = {
    Verdict.FAIL: "Compare the attribution and module snapshots for what changed; if it is meant, change the marker.",
    Verdict.INCONCLUSIVE: _QUIETER,
    Verdict.ERROR: "Nothing was measured, so nothing passed.",
}
_NEXT_LOCKED = _NEXT | {
    Verdict.FAIL: "If the loss is meant, run pytest --modelcheck --snapshot-update: today's graph becomes the baseline."
}
_LOCK = (
    "Lock a graph: `assert modelcheck.baseline == modelcheck_snapshot` in the test's body, and run\n"
    "pytest --modelcheck --snapshot-update once."
)

GATE = Gate("expect_latency", parse, check)
