"""``expect_reduction``: how many nodes the pipeline, and each pass of it, removes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import REMOVED, Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, named_bound, shortened, suggestion
from pytest_modelcheck.result import Finding

if TYPE_CHECKING:
    from pytest_modelcheck.attribution import PassAttribution
    from pytest_modelcheck.check import ModelCheck

Basis = Literal["isolated", "in_order"]
BASES: tuple[Basis, ...] = ("isolated", "in_order")


@dataclass(frozen=True, slots=True)
class ExpectReduction:
    """Bounds on the nodes removed: in total, and per pass on the given basis. Removed nodes count as positive."""

    basis: Basis
    total: Bound | None
    passes: tuple[tuple[str, Bound], ...]


def parse(basis: str = "in_order", total: Any = None, **passes: Any) -> ExpectReduction:
    """the pipeline (total) and each named pass remove this many nodes or this share: total=">=5%", fold_constants=">0"

    Raises:
        MarkerError: on an unknown pass or basis, or when nothing is expected.
        BoundError: on a bound that cannot be read.
    """
    chosen = choice("basis", basis, BASES)
    if total is None and not passes:
        raise MarkerError('expects nothing; write e.g. total=">=5%" or fold_constants=">0"')
    bounds = [(name, _bound(name, expected)) for name, expected in passes.items()]
    return ExpectReduction(chosen, None if total is None else _bound("total", total), tuple(bounds))


def _bound(name: str, expected: Any) -> Bound:
    bound = named_bound(name, expected, REMOVED)
    if bound.whole is not None:
        raise BoundError(f"{name}={expected!r}: write a number of nodes or a percentage")
    return bound


def validate(expectation: ExpectReduction, passes: tuple[str, ...]) -> None:
    """Hold the pass names against the pipeline in force.

    Raises:
        MarkerError: naming the unknown pass and the close match.
    """
    from pytest_modelcheck.pipeline import known_pass_names

    known = known_pass_names(passes)
    for name, _ in expectation.passes:
        if name not in known:
            raise MarkerError(f"pass {name!r} is unknown{suggestion(name, known)}")


def check(modelcheck: ModelCheck, expectation: ExpectReduction) -> GateResult:
    """Compare what the passes removed with what was expected of them."""
    attribution = modelcheck.attribution
    rows = {row.name: row for row in attribution.passes}
    findings = list(modelcheck.graphs.failed_passes(GATE.name))
    measured = [f"{attribution.nodes_before} -> {attribution.nodes_after} nodes"]
    removed = attribution.nodes_before - attribution.nodes_after
    if (bound := expectation.total) is not None and not bound.holds(_in_unit(removed, bound, attribution.nodes_before)):
        findings.append(_total_finding(modelcheck, bound, removed))
    for name, bound in expectation.passes:
        row = rows.get(name)
        if row is None:
            findings.append(_missing_pass(modelcheck, name, bound))
            continue
        delta = getattr(row, expectation.basis)
        if delta is None:
            continue  # the pass failed: among the pipeline's findings
        measured.append(f"{name} {delta:+d}")
        if not bound.holds(_in_unit(-delta, bound, attribution.nodes_before)):
            findings.append(_pass_finding(modelcheck, row, bound, expectation.basis, -delta))
    return GateResult(gate=GATE.name, measured=", ".join(measured), findings=tuple(findings))


def _in_unit(removed: int, bound: Bound, nodes: int) -> float:
    if not bound.percent:
        return removed
    return 100.0 * removed / nodes if nodes else float("nan")


def _share(removed: int, nodes: int) -> str:
    return f"{removed} nodes removed ({100 * removed / nodes:.1f}% of {nodes})" if nodes else "an empty graph"


def _total_finding(modelcheck: ModelCheck, bound: Bound, removed: int) -> Finding:
    from pytest_modelcheck.hierarchy import diff_tables

    attribution, owners = modelcheck.attribution, modelcheck.graphs.pass_owners
    rows = sorted(attribution.passes, key=lambda row: row.in_order or 0)
    passes = [f"{row.name}: {row.in_order:+d}" for row in rows if row.in_order] or ["no pass changed the node count"]
    return modelcheck.finding(
        GATE.name,
        "total",
        bound,
        _share(removed, attribution.nodes_before),
        stage="optimized",
        where=(*passes, *shortened(diff_tables(owners.before, owners.after))),
        next="Compare the attribution snapshot to see which pass changed; if the change is meant, lower the marker.",
    )


def _pass_finding(modelcheck: ModelCheck, row: PassAttribution, bound: Bound, basis: Basis, removed: int) -> Finding:
    return modelcheck.finding(
        GATE.name,
        row.name,
        bound,
        _share(removed, modelcheck.attribution.nodes_before),
        context=f"{basis}, {modelcheck.settings.stage_context('optimized')}",
        where=_pass_where(modelcheck, row, basis),
        next="If the change is meant, change the marker; the attribution snapshot shows what the other passes did.",
    )


def _pass_where(modelcheck: ModelCheck, row: PassAttribution, basis: Basis) -> tuple[str, ...]:
    """What the pass did: its status with the operators it changed, in which modules, and what it refused."""
    status = row.isolated_status if basis == "isolated" else row.status
    record = next(record for record in modelcheck.attribution.records if record.name == row.name)
    ops = ", ".join(f"{op} {delta:+d}" for op, delta in record.ops_delta.items()) if basis == "in_order" else ""
    index = [record.name for record in modelcheck.attribution.records].index(row.name)
    changes = modelcheck.graphs.pass_owners.passes[index].changes
    did = {"no_op": ", nothing in this graph to rewrite", "fired": f": {ops}" if ops else ""}.get(status, "")
    refused = [f"refused {count} x: {reason}" for reason, count in row.reasons]
    return (f"{row.name}: {status}{did}", *shortened(changes if basis == "in_order" else ()), *refused)


def _missing_pass(modelcheck: ModelCheck, name: str, bound: Bound) -> Finding:
    names = ", ".join(row.name for row in modelcheck.attribution.passes)
    return modelcheck.finding(
        GATE.name,
        name,
        bound,
        "no such pass in the pipeline",
        stage="optimized",
        where=(f"pipeline: {names}",),
        next="Put the pass back into the pipeline (ini modelcheck_passes), or take it out of the marker.",
    )


GATE = Gate("expect_reduction", parse, check, validate)
