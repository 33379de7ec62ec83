"""``expect_hierarchy``: how many nodes have a known owner, and how many modules own a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import SHARE, Bound
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, percent_bound
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.hierarchy import HierarchyReport

Stage = Literal["exported", "optimized"]
Strategy = Literal["auto", "precise", "broad"]
STAGES: tuple[Stage, ...] = ("exported", "optimized")
STRATEGIES: tuple[Strategy, ...] = ("auto", "precise", "broad")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ExpectHierarchy:
    """Bounds in percent, None where nothing is expected; the stage and the strategy that they are of."""

    stage: Stage
    strategy: Strategy
    coverage: Bound | None
    modules: Bound | None


def parse(
    coverage: Any = None, modules: Any = None, stage: str = "exported", strategy: str = "auto"
) -> ExpectHierarchy:
    """this share of the compute nodes has a known owner, and this share of the modules that ran owns a node

    Raises:
        MarkerError: when nothing is expected, or on an unknown stage or strategy.
        BoundError: on a bound that cannot be read, or is not a percentage.
    """
    chosen = choice("stage", stage, STAGES)
    chosen_strategy = choice("strategy", strategy, STRATEGIES)
    if coverage is None and modules is None:
        raise MarkerError('expects nothing; write e.g. coverage=">=95%"')
    return ExpectHierarchy(
        chosen,
        chosen_strategy,
        percent_bound("coverage", coverage, SHARE, ">=95%"),
        percent_bound("modules", modules, SHARE, ">=95%"),
    )


def check(modelcheck: ModelCheck, expectation: ExpectHierarchy) -> GateResult:
    """Compare coverage and module coverage with their bounds."""
    report = _report(modelcheck, expectation)
    findings, measured = [], []
    if expectation.coverage is not None:
        measured.append(f"coverage {100 * report.coverage:.1f}% of {report.compute_nodes} nodes")
        if not report.compute_nodes or not expectation.coverage.holds(100 * report.coverage):
            findings.append(_coverage_finding(modelcheck, expectation, report))
    if expectation.modules is not None:
        measured.append(f"modules {100 * report.module_coverage:.1f}% of {len(report.modules_ran)}")
        if not report.modules_ran or not expectation.modules.holds(100 * report.module_coverage):
            findings.append(_modules_finding(modelcheck, expectation, report))
    return GateResult(gate=GATE.name, measured=", ".join(measured), findings=tuple(findings))


def _report(modelcheck: ModelCheck, expectation: ExpectHierarchy) -> HierarchyReport:
    from pytest_modelcheck.hierarchy import hierarchy

    if expectation.strategy == "auto":
        return modelcheck.hierarchy if expectation.stage == "exported" else modelcheck.graphs.optimized_hierarchy
    model = modelcheck.exported.model if expectation.stage == "exported" else modelcheck.optimized
    return hierarchy(modelcheck.exported, model=model, calls=modelcheck.graphs.calls, strategy=expectation.strategy)


def _coverage_finding(modelcheck: ModelCheck, expectation: ExpectHierarchy, report: HierarchyReport) -> Finding:
    kinds = ", ".join(f"{kind} {count}" for kind, count in report.kinds.items())
    return modelcheck.finding(
        GATE.name,
        "coverage",
        expectation.coverage,
        f"{100 * report.coverage:.1f}% of {report.compute_nodes} compute nodes ({kinds})",
        stage=expectation.stage,
        where=tuple(filter(None, (report.reason, f"{report.strategy} strategy: {report.why}"))),
        next="A node counts if its owner is named by the exporter or deduced; the root fallback never counts.",
        verdict=Verdict.FAIL if report.compute_nodes else Verdict.ERROR,
    )


def _modules_finding(modelcheck: ModelCheck, expectation: ExpectHierarchy, report: HierarchyReport) -> Finding:
    without = report.modules_uncovered
    shown = [f"{path or 'the root module'}: ran, and owns no node" for path in without[:_SHOWN]]
    more = [f"... and {len(without) - _SHOWN} more"] if len(without) > _SHOWN else []
    ran = len(report.modules_ran)
    return modelcheck.finding(
        GATE.name,
        "modules",
        expectation.modules,
        f"{100 * report.module_coverage:.1f}% of {ran} modules" if ran else "no torch module that ran",
        stage=expectation.stage,
        where=(*shown, *more),
        next="A module that computes something the outputs need should own a node; check its name in the export.",
        verdict=Verdict.FAIL if ran else Verdict.ERROR,
    )


GATE = Gate("expect_hierarchy", parse, check)
