"""The three questions of ``expect_latency``: what is measured for each, and what the finding says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.check.settings import own_cores
from pytest_modelcheck.gates.gate import GateResult
from pytest_modelcheck.gates.latency_measures import (
    latency_figures,
    measure_regression,
    measure_speedup,
    measure_stored,
    modules_that_slowed,
)
from pytest_modelcheck.graph.compare import graphs_equal
from pytest_modelcheck.latency import evaluate_regression, evaluate_speedup, same_graph
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.runtimes import How
from pytest_modelcheck.shapes.evaluate import RANDOM

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.latency import PairedLatency

NAME = "expect_latency"
SAME_GRAPH = "regression 0 %: today's graph is the locked one, node for node, so there is nothing to time"


def speedup(modelcheck: ModelCheck, bound: Bound, how: How) -> GateResult:
    latency = measure_speedup(modelcheck, bound, how)
    judgement = evaluate_speedup(latency, bound)
    notes = _notes(modelcheck, how)
    low, high = latency.interval
    measured = f"speedup {latency.ratio:.3f} [{low:.3f}, {high:.3f}], {_effort(latency)}" if latency.pairs else ""
    where = (*_where(latency, "exported", "optimized", how), *notes)
    step = _NEXT.get(judgement.verdict, "")
    said = (judgement.verdict, judgement.reason)
    figures = {"latency": latency_figures(latency)}
    graphs = modelcheck.graphs
    # Files of one graph have one time, whatever is measured: what misses a bound that 1 meets is noise.
    missed = judgement.missed and not (bound.holds(1) and graphs_equal(graphs.exported.model, graphs.optimized))
    return _result(modelcheck, "speedup", bound, _noted(measured, notes), *said, where, step, figures, missed)


def regression(modelcheck: ModelCheck, bound: Bound, how: How) -> GateResult:
    locked = modelcheck.locked.text("baseline")
    if locked is None:
        return _result(modelcheck, "regression", bound, "", Verdict.ERROR, "no locked graph to compare with", (), _LOCK)
    if bound.holds(0) and same_graph(locked, modelcheck.baseline):
        return GateResult(gate=NAME, measured=SAME_GRAPH)
    latency, notes = measure_regression(modelcheck, bound, locked, how)
    notes = (*notes, *_notes(modelcheck, how))
    judgement = evaluate_regression(latency, bound)
    where = (*_where(latency, "today's", "the locked graph", how), *notes)
    if judgement.verdict is Verdict.FAIL:
        where = (*modules_that_slowed(modelcheck, locked), *where)
    measured = _noted(_loss("regression", latency), notes)
    said = (judgement.verdict, judgement.reason)
    step, figures = _NEXT_LOCKED.get(judgement.verdict, ""), latency_figures(latency, ("today", "locked"))
    return _result(
        modelcheck, "regression", bound, measured, *said, where, step, {"regression": figures}, judgement.missed
    )


def stored(modelcheck: ModelCheck, bound: Bound, how: How) -> GateResult:
    latency, told = measure_stored(modelcheck, how)
    if latency is None:
        found = "no time of this graph on this machine with these versions"
        return _result(modelcheck, "stored", bound, "", Verdict.INCONCLUSIVE, found, told, _STORED)
    notes = _notes(modelcheck, how)
    judgement = evaluate_regression(latency, bound)
    where = (*_where(latency, "today's", "the stored one", how), *told, *notes)
    measured = _noted(_loss("against the stored time", latency), notes)
    said = (judgement.verdict, judgement.reason)
    return _result(
        modelcheck,
        "stored",
        bound,
        measured,
        *said,
        where,
        _NEXT_STORED.get(judgement.verdict, ""),
        None,
        judgement.missed,
    )


def not_here(modelcheck: ModelCheck, subject: str, bound: Bound, missing: str) -> GateResult:
    """An execution provider that is not on this machine: nothing is measured, and nothing passes."""
    return _result(modelcheck, subject, bound, "", Verdict.INCONCLUSIVE, f"nothing measured: {missing}", (), _ELSEWHERE)


def _loss(said: str, latency: PairedLatency) -> str:
    if not latency.pairs:
        return ""
    low, high = (100 * (end - 1) for end in latency.interval)
    return f"{said} {100 * (latency.ratio - 1):+.1f}% [{low:+.1f}, {high:+.1f}], {_effort(latency)}"


def _noted(measured: str, notes: tuple[str, ...]) -> str:
    return f"{measured} ({'; '.join(notes)})" if measured and notes else measured


def _notes(modelcheck: ModelCheck, how: How) -> tuple[str, ...]:
    """What a reader of the figures should know of the graph and the machine."""
    notes = []
    if drawn := sorted(RANDOM & modelcheck.graphs.op_counts("exported").keys()):
        notes.append(f"random ops ({', '.join(drawn)}): outputs vary between runs")
    if how.threads > (cores := own_cores()):
        notes.append(f"{how.threads} threads share {cores} core{'' if cores == 1 else 's'}")
    elif cores == 1:
        notes.append("this machine has one core: whatever else runs on it takes turns with what is timed")
    return tuple(notes)


def _result(
    modelcheck: ModelCheck,
    subject: str,
    bound: Bound,
    measured: str,
    verdict: Verdict,
    found: str,
    where: tuple[str, ...],
    step: str,
    figures: Mapping[str, Any] | None = None,
    missed: bool = False,
) -> GateResult:
    findings: tuple[Finding, ...] = ()
    if verdict is not Verdict.PASS:
        made = modelcheck.finding(
            NAME, subject, bound, found, stage="optimized", where=where, next=step, verdict=verdict
        )
        findings = (replace(made, missed=missed),)
    return GateResult(gate=NAME, measured=measured, findings=findings, figures=figures or {})


def _effort(latency: PairedLatency) -> str:
    return f"{latency.rounds} rounds" if latency.rounds else f"{latency.pairs} pairs"


def _where(latency: PairedLatency, a: str, b: str, how: How) -> tuple[str, ...]:
    if not latency.pairs:
        return ()
    low, high = latency.noise
    on = "" if how.threads == 1 else f", {how.threads} threads"
    on += "" if how.provider == "CPU" else f", on {how.provider}"
    return (
        f"{a} {latency.a_ms:.2f} ms, {b} {latency.b_ms:.2f} ms in onnxruntime at its default level{on}",
        f"{_effort(latency)} in {latency.seconds:.0f} s; {a} against itself measured {low:.3f} to {high:.3f}",
        *(f"{name}: {times}" for name, times in ((a, latency.a_times), (b, latency.b_times)) if times is not None),
    )


QUIETER = (
    "Run on a quieter machine, raise modelcheck_latency_budget, or ask for less; "
    "modelcheck_inconclusive decides whether this fails."
)
_NEXT = {
    Verdict.FAIL: "Compare the attribution and module snapshots for what changed; if it is meant, change the marker.",
    Verdict.INCONCLUSIVE: QUIETER,
    Verdict.ERROR: "Nothing was measured, so nothing passed.",
}
_NEXT_LOCKED = _NEXT | {
    Verdict.FAIL: "If the loss is meant, run pytest --modelcheck --snapshot-update: today's graph becomes the baseline."
}
_LOCK = (
    "Lock a graph: `assert modelcheck.baseline == modelcheck_snapshot` in the test's body, and run\n"
    "pytest --modelcheck --snapshot-update once."
)

_NEXT_STORED = _NEXT | {
    Verdict.FAIL: "If the loss is meant, delete that file: the next run stores its own time. A locked graph "
    "(regression=...) is timed beside today's, and sees less."
}
_STORED = "Run again: the next run on this machine is compared with this one. Times of other machines never are."
_ELSEWHERE = "Run where it is, with the onnxruntime that has it; modelcheck_inconclusive decides whether this fails."
