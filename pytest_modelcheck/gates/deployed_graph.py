"""What ``expect_runtime`` asks of the graph that a runtime makes: its operators, and its time against onnxruntime's."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pytest_modelcheck.accuracy.stages import at_sizes
from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.gates.gate import GateResult
from pytest_modelcheck.gates.latency_answers import QUIETER
from pytest_modelcheck.gates.latency_measures import fresh, latency_figures
from pytest_modelcheck.gates.ops import wrong_operator
from pytest_modelcheck.latency import evaluate_speedup, measure_paired
from pytest_modelcheck.model_case import EXAMPLE_SEED
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.runtimes import How, Runtime, installed_runtime

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_modelcheck.check import ModelCheck

NAME = "expect_runtime"


def operators(
    modelcheck: ModelCheck, runtime: Runtime, how: How, graph: tuple[str, Path], bounds: Mapping[str, Bound]
) -> GateResult:
    """How often the graph that the runtime executes holds each operator."""
    assert runtime.executed is not None
    stage, path = graph
    counts = dict(sorted(runtime.executed(path, how).items()))
    holds = f"{runtime.title} {runtime.version()} executes {', '.join(f'{op} {n}' for op, n in counts.items())}"
    findings = []
    for op, bound in bounds.items():
        found = counts.get(op, 0)
        close = "" if found else _close(counts, op)
        if not bound.holds(found) or close:
            hint = f"It has {close}; if that is the operator you mean, name it. " if close else ""
            step = f"{hint}If the change is meant, write {op!r}: {found} in ops."
            verdict = Verdict.FAIL if not bound.holds(found) else Verdict.ERROR
            findings.append(
                modelcheck.finding(NAME, op, bound, str(found), stage=stage, where=(holds,), next=step, verdict=verdict)
            )
    measured = ", ".join(f"{op} {counts.get(op, 0)}" for op in bounds)
    figures = {f"runtime {runtime.name}": {"executes": counts}}
    return GateResult(gate=NAME, measured=f"executes {measured}", findings=tuple(findings), figures=figures)


_SLIP = 0.93
"""Likeness of names that differ by a letter: Reorderr and Reorder, but not Convolution and Deconvolution."""


def _close(counts: Mapping[str, int], op: str) -> str:
    """An executed operator that differs from the one asked for by a slip: its bound would say nothing.

    The name of an existing operator is no misspelling, whatever is close to it: ``ReduceMax: 0`` beside ReduceMean.
    """
    if not wrong_operator(op):
        return ""
    names = {name.lower(): name for name in counts}
    close = difflib.get_close_matches(op.lower(), names, n=1, cutoff=_SLIP)
    return f"{names[close[0]]} {counts[names[close[0]]]}" if close else ""


def latency(
    modelcheck: ModelCheck, runtime: Runtime, how: How, graph: tuple[str, Path], peer: Path, bound: Bound
) -> GateResult:
    """Time of `peer` in onnxruntime, at its default level, over that of the graph in the runtime; both interleaved."""
    stage, path = graph
    usual = replace(how, runtime=installed_runtime("onnxruntime").name, provider="CPU")
    drawn = modelcheck.graphs.inputs(EXAMPLE_SEED)

    with modelcheck.graphs.results.timed("latency"):
        measured = measure_paired(
            fresh(peer, "onnxruntime", drawn, usual),
            fresh(path, runtime.title, drawn, at_sizes(how, drawn)),
            budget_s=modelcheck.settings.latency_budget,
            judge=partial(evaluate_speedup, bound=bound),
        )
    judgement = evaluate_speedup(measured, bound)
    low, high = measured.interval
    said = f"x{measured.ratio:.3f} [{low:.3f}, {high:.3f}] against onnxruntime" if measured.pairs else ""
    where = (f"onnxruntime {measured.a_ms:.2f} ms, {runtime.title} {measured.b_ms:.2f} ms",) if measured.pairs else ()
    findings: tuple[Finding, ...] = ()
    if judgement.verdict is not Verdict.PASS:
        step = _NEXT[judgement.verdict]
        made = modelcheck.finding(
            NAME, "latency", bound, judgement.reason, stage=stage, where=where, next=step, verdict=judgement.verdict
        )
        findings = (replace(made, missed=judgement.missed),)
    figures = {"latency": latency_figures(measured, ("onnxruntime", runtime.name))}
    return GateResult(gate=NAME, measured=said, findings=findings, figures={f"runtime {runtime.name}": figures})


_NEXT = {
    Verdict.FAIL: "See what the runtime executes (ops=) and what it did before; if it is meant, change the marker.",
    Verdict.INCONCLUSIVE: QUIETER,
    Verdict.ERROR: "Nothing was measured, so nothing passed.",
}
