"""``expect_ops``: how often an operator stands in the graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound
from pytest_modelcheck.result import Finding

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck

Stage = Literal["exported", "optimized"]


@dataclass(frozen=True, slots=True)
class ExpectOps:
    """Operator -> bound on its count, at one stage."""

    stage: Stage
    counts: tuple[tuple[str, Bound], ...]


def parse(stage: str = "optimized", **ops: Any) -> ExpectOps:
    """the graph at this stage (exported, optimized) holds each operator this often, e.g. Attention=12, Transpose="<=4"

    Raises:
        MarkerError: on an unknown stage or no operator at all.
        BoundError: on a bound that cannot be read, or a percentage.
    """
    if stage not in ("exported", "optimized"):
        raise MarkerError(f"stage {stage!r} is unknown; choose exported or optimized")
    if not ops:
        raise MarkerError("names no operator; write e.g. Attention=12")
    counts = []
    for op, expected in ops.items():
        bound = named_bound(op, expected)
        if bound.percent or bound.whole is not None:
            raise BoundError(f"{op}={expected!r}: a node count is a plain number")
        counts.append((op, bound))
    return ExpectOps(stage, tuple(counts))  # type: ignore[arg-type]


def check(modelcheck: ModelCheck, expectation: ExpectOps) -> GateResult:
    """Compare the operator counts of the exported or the optimized graph."""
    found = modelcheck.op_counts(expectation.stage)
    findings = []
    for op, bound in expectation.counts:
        count = found.get(op, 0)
        if not bound.holds(count):
            findings.append(_finding(modelcheck, expectation.stage, op, bound, count))
    measured = ", ".join(f"{op} {found.get(op, 0)}" for op, _ in expectation.counts)
    return GateResult(gate=GATE.name, measured=measured, findings=tuple(findings))


def _finding(modelcheck: ModelCheck, stage: Stage, op: str, bound: Bound, count: int) -> Finding:
    where = modelcheck.where_op(op, stage)
    next_step = f"If the change is meant, write {op}={count} in the marker."
    if count == 0 and (close := modelcheck.close_op(op, stage)):
        next_step = f"The graph has {close}; if that is the operator you mean, name it. " + next_step
    return Finding(
        gate=GATE.name,
        model=modelcheck.label,
        subject=op,
        expected=str(bound),
        found=str(count),
        context=modelcheck.stage_context(stage),
        where=where,
        next=next_step,
    )


GATE = Gate("expect_ops", parse, check)
