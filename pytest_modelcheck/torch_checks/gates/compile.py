"""``expect_compile``: graph breaks and recompilations of ``torch.compile``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import COUNT, Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck

SEEDS = (1, 2)
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ExpectCompile:
    """Bounds on the breaks of the graph, and on the graphs that inputs of other seeds compile; None is not asked."""

    graph_breaks: Bound | None
    recompiles: Bound | None


def parse(graph_breaks: Any = 0, recompiles: Any = 0) -> ExpectCompile:
    """torch.compile traces the forward with this many graph breaks; inputs of two more seeds compile this many graphs

    Raises:
        BoundError: on a bound that cannot be read, or a percentage.
        MarkerError: when nothing is expected.
    """
    if graph_breaks is None and recompiles is None:
        raise MarkerError("expects nothing; write e.g. graph_breaks=0")
    return ExpectCompile(_count("graph_breaks", graph_breaks), _count("recompiles", recompiles))


def _count(name: str, expected: Any) -> Bound | None:
    if expected is None:
        return None
    bound = named_bound(name, expected, COUNT)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"{name}={expected!r}: write a plain number, e.g. 0 or '<=1'")
    return bound


def check(modelcheck: ModelCheck, expectation: ExpectCompile) -> GateResult:
    """Trace the forward with the example, then run what was traced with the inputs of further seeds."""
    from pytest_modelcheck.torch_checks.compile_report import compile_report

    torch = modelcheck.torch
    further = [torch.inputs(seed) for seed in SEEDS]
    report = compile_report(torch.module, torch.example, further)
    asked = (
        ("graph_breaks", expectation.graph_breaks, report.graph_breaks, "At each break the forward is back in Python."),
        ("recompiles", expectation.recompiles, report.recompiles, "A shape or a Python value differs between inputs."),
    )
    findings = tuple(
        modelcheck.finding(
            GATE.name,
            name,
            bound,
            str(len(places)),
            context="torch.compile",
            where=places[:_SHOWN],
            next=step,
        )
        for name, bound, places, step in asked
        if bound is not None and not bound.holds(len(places))
    )
    measured = f"graph breaks {len(report.graph_breaks)}, recompiles {len(report.recompiles)}"
    return GateResult(gate=GATE.name, measured=measured, findings=findings)


GATE = Gate("expect_compile", parse, check)
