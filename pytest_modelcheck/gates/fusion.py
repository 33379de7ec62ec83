"""``expect_fusion``: how many attention layers have their projections grouped, and how far the torch graph fuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import COUNT, SHARE, Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.fusion import FusionReport

_SHOWN = 8


@dataclass(frozen=True, slots=True)
class ExpectFusion:
    """Bounds; None where nothing is expected. `qkv` and `all_three` count attention layers, or are shares of them."""

    qkv: Bound | None
    all_three: Bound | None
    subgraphs: Bound | None
    mean_size: Bound | None


def parse(qkv: Any = None, subgraphs: Any = None, mean_size: Any = None, all_three: Any = None) -> ExpectFusion:
    """this many attention layers have Q, K and V grouped (qkv="12/12"), in this many fused subgraphs of this mean size

    `qkv` counts a layer that has two of them grouped, as cross-attention has; `all_three` does not.

    Raises:
        MarkerError: when nothing is expected.
        BoundError: on a bound that cannot be read, or has a unit that its figure does not have.
    """
    if qkv is None and all_three is None and subgraphs is None and mean_size is None:
        raise MarkerError('expects nothing; write e.g. qkv="12/12"')
    return ExpectFusion(
        None if qkv is None else named_bound("qkv", qkv, SHARE),
        None if all_three is None else named_bound("all_three", all_three, SHARE),
        _plain("subgraphs", subgraphs, "subgraphs='<=204'"),
        _plain("mean_size", mean_size, "mean_size='>=1.5'"),
    )


def _plain(name: str, expected: Any, example: str) -> Bound | None:
    if expected is None:
        return None
    bound = named_bound(name, expected, COUNT)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"{name}={expected!r}: write a number or a comparison, e.g. {example}")
    return bound


def check(modelcheck: ModelCheck, expectation: ExpectFusion) -> GateResult:
    """Compare the fusion report with the bounds."""
    report = modelcheck.fusion
    findings, measured = [], []
    figures = (("qkv", expectation.qkv, report.qkv), ("all_three", expectation.all_three, report.all_three))
    for subject, bound, figure in figures:
        if bound is not None:
            measured.append(f"{subject} {figure}/{report.attention_layers}")
            if not _layers_hold(bound, figure, report.attention_layers):
                findings.append(_layers_finding(modelcheck, subject, bound, figure, report))
    if (bound := expectation.subgraphs) is not None:
        measured.append(f"{len(report.subgraphs)} subgraphs")
        if not report.nodes or not bound.holds(len(report.subgraphs)):
            findings.append(_size_finding(modelcheck, "subgraphs", bound, report, f"{len(report.subgraphs)}"))
    if (bound := expectation.mean_size) is not None:
        measured.append(f"mean size {report.mean_size:.4g}")
        if not report.nodes or not bound.holds(report.mean_size):
            findings.append(_size_finding(modelcheck, "mean_size", bound, report, f"{report.mean_size:.4g}"))
    return GateResult(gate=GATE.name, measured=", ".join(measured), findings=tuple(findings))


def _layers_hold(bound: Bound, figure: int, layers: int) -> bool:
    if bound.percent:
        return layers > 0 and bound.holds(100 * figure / layers)
    return bound.holds(figure) and bound.whole in (None, layers)


def _layers_finding(modelcheck: ModelCheck, subject: str, bound: Bound, figure: int, report: FusionReport) -> Finding:
    from pytest_modelcheck.fusion import apart_lines, unfused_lines  # loads torch, which by now is loaded

    reasons = unfused_lines(report) + (apart_lines(report) if subject == "all_three" else [])
    if not report.attention_layers:
        reasons = ["no softmax(Q K^T) V is in the torch graph"]
    elif not reasons:
        reasons = [f"all {report.attention_layers} attention layers have their projections grouped"]
    return modelcheck.finding(
        GATE.name,
        subject,
        bound,
        f"{figure}/{report.attention_layers}",
        context="torch graph, attention written out",
        where=tuple(reasons),
        next="Projections of one input that meet in one attention count as grouped, and so does a packed one.",
    )


def _size_finding(modelcheck: ModelCheck, subject: str, bound: Bound, report: FusionReport, found: str) -> Finding:
    ends = [f"ends in {reason}: {count}" for reason, count in report.boundary_counts.items()]
    more = [f"... and {len(ends) - _SHOWN} more reasons"] if len(ends) > _SHOWN else []
    return modelcheck.finding(
        GATE.name,
        subject,
        bound,
        f"{found} ({report.nodes} compute nodes in {len(report.subgraphs)} subgraphs)",
        context="torch graph, attention written out",
        where=(*ends[:_SHOWN], *more) if report.nodes else ("the torch graph computes nothing",),
        next="The fusion snapshot shows whose subgraphs changed; if the change is meant, change the marker.",
        verdict=Verdict.FAIL if report.nodes else Verdict.ERROR,
    )


GATE = Gate("expect_fusion", parse, check)
