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
    """Bounds; None where nothing is expected. `qkv` counts attention layers, or is a share of them in percent."""

    qkv: Bound | None
    subgraphs: Bound | None
    mean_size: Bound | None


def parse(qkv: Any = None, subgraphs: Any = None, mean_size: Any = None) -> ExpectFusion:
    """this many attention layers have Q, K and V grouped (qkv="12/12"), in this many fused subgraphs of this mean size

    Raises:
        MarkerError: when nothing is expected.
        BoundError: on a bound that cannot be read, or has a unit that its figure does not have.
    """
    if qkv is None and subgraphs is None and mean_size is None:
        raise MarkerError('expects nothing; write e.g. qkv="12/12"')
    return ExpectFusion(
        None if qkv is None else named_bound("qkv", qkv, SHARE),
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
    if (bound := expectation.qkv) is not None:
        measured.append(f"qkv {report.qkv}/{report.attention_layers}")
        if not _qkv_holds(bound, report):
            findings.append(_qkv_finding(modelcheck, bound, report))
    if (bound := expectation.subgraphs) is not None:
        measured.append(f"{len(report.subgraphs)} subgraphs")
        if not report.nodes or not bound.holds(len(report.subgraphs)):
            findings.append(_size_finding(modelcheck, "subgraphs", bound, report, f"{len(report.subgraphs)}"))
    if (bound := expectation.mean_size) is not None:
        measured.append(f"mean size {report.mean_size:.4g}")
        if not report.nodes or not bound.holds(report.mean_size):
            findings.append(_size_finding(modelcheck, "mean_size", bound, report, f"{report.mean_size:.4g}"))
    return GateResult(gate=GATE.name, measured=", ".join(measured), findings=tuple(findings))


def _qkv_holds(bound: Bound, report: FusionReport) -> bool:
    if bound.percent:
        return report.attention_layers > 0 and bound.holds(100 * report.qkv / report.attention_layers)
    return bound.holds(report.qkv) and bound.whole in (None, report.attention_layers)


def _qkv_finding(modelcheck: ModelCheck, bound: Bound, report: FusionReport) -> Finding:
    from pytest_modelcheck.fusion import unfused_lines  # loads torch, which by now is loaded

    reasons = unfused_lines(report)
    if not report.attention_layers:
        reasons = ["no softmax(Q K^T) V is in the torch graph"]
    elif not reasons:
        reasons = [f"all {report.attention_layers} attention layers have their projections grouped"]
    return modelcheck.finding(
        GATE.name,
        "qkv",
        bound,
        f"{report.qkv}/{report.attention_layers}",
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
