"""``expect_ops``: how often an operator stands in the graph."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound
from pytest_modelcheck.result import Finding

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck

Stage = Literal["exported", "optimized"]
_SHOWN = 5


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


def validate(expectation: ExpectOps) -> None:
    """Check the operator names: a bound such as ``"<=4"`` on a name that cannot exist would always hold.

    Raises:
        MarkerError: naming the operator that ONNX does not have, and the close match.
    """
    import onnx

    known = sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})
    for op, _ in expectation.counts:
        if ":" not in op and op not in known:
            close = difflib.get_close_matches(op, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise MarkerError(
                f"{GATE.name}: ONNX has no operator {op!r}{hint} (one of another domain is written domain:name)"
            )


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
        where=_where(modelcheck, stage, op),
        next=next_step,
    )


def _where(modelcheck: ModelCheck, stage: Stage, op: str) -> tuple[str, ...]:
    """The modules whose nodes of this operator are there."""
    from pytest_modelcheck.graph.counts import all_nodes, op_label
    from pytest_modelcheck.graph.metadata import contributors

    owners = Counter(contributors(node)[:1] for node in all_nodes(modelcheck.graph(stage)) if op_label(node) == op)
    lines = [f"{_module(owner)}: {count} x {op}" for owner, count in owners.items()]
    more = [f"... and {len(lines) - _SHOWN} more modules"] if len(lines) > _SHOWN else []
    return (*lines[:_SHOWN], *more)


def _module(owner: tuple[str, ...]) -> str:
    return (owner[0] or "the root module") if owner else "no known module"


GATE = Gate("expect_ops", parse, check)
