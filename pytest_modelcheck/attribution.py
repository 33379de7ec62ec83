"""What each pass is worth on one model: alone, in its place, and missed.

- isolated: the pass alone on the exported model.
- in order: the pass in its place in the pipeline.
- leave-one-out: the pipeline with and without the pass; -72 means that without it 72 more nodes would be left.

All three are signed changes of the node count (graph/counts.py has the rule).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.graph.validity import check_model
from pytest_modelcheck.passes import PASSES, Target
from pytest_modelcheck.pipeline import AnyPass, PassRecord, PassStatus, check_target, pass_name, prepare, run_prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class PassAttribution:
    """One row of the matrix for one model.

    Attributes:
        name: The pass.
        isolated, in_order: Signed change of the node count; None where the pass failed there (`status` says so).
        leave_one_out: The same for the pipeline with and without it; None where not asked for, or a pass failed.
        status: Of the run in order; `PassStatus.ERROR` if either run failed.
        isolated_status: Of the run alone.
        reasons: (reason, count) of what was refused in order, most frequent first.
        seconds: Wall time of the run in order.
        error: Why it failed, else None.
    """

    name: str
    isolated: int | None
    in_order: int | None
    leave_one_out: int | None
    status: PassStatus
    isolated_status: PassStatus
    reasons: tuple[tuple[str, int], ...]
    seconds: float
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The pass-attribution matrix of one model.

    Attributes:
        nodes_before, nodes_after: Node counts, Constants left out.
        constants_before, constants_after: Constant nodes beside them.
        target: What the pipeline was allowed to use.
        passes: One row per pass, in pipeline order.
        records: What each pass did in order.
        optimized: The model after the last pass.
    """

    nodes_before: int
    nodes_after: int
    constants_before: int
    constants_after: int
    target: Target
    passes: tuple[PassAttribution, ...]
    records: tuple[PassRecord, ...]
    optimized: ir.Model

    @property
    def reduction(self) -> float:
        """Nodes removed, as a share of the nodes before: 0.05 is 5 %."""
        return (self.nodes_before - self.nodes_after) / self.nodes_before if self.nodes_before else 0.0

    @property
    def errors(self) -> tuple[PassAttribution, ...]:
        """The passes that failed."""
        return tuple(row for row in self.passes if row.status is PassStatus.ERROR)


def attribute(
    model: ir.Model,
    *,
    passes: Sequence[AnyPass] | None = None,
    target: Target = "portable",
    leave_one_out: bool = True,
) -> Attribution:
    """Measure every pass on `model`, which is not touched; weights are never copied.

    Args:
        model: A valid model.
        passes: Default: `passes.PASSES`.
        target: ``portable``, ``opset23`` or ``onnxruntime``.
        leave_one_out: Also run the pipeline once without each pass: n more (partial) pipelines for n passes.

    Raises:
        InvalidModelError: if `model` does not pass the checker.
    """
    check_target(target)
    check_model(model)
    chosen = tuple(PASSES if passes is None else passes)
    stages = [prepare(model)]
    alone = [run_prepared(stages[0], pass_, target, goes_on=False)[1] for pass_ in chosen]
    in_order = []
    for name, pass_ in zip(_columns(chosen), chosen, strict=True):
        after, record = run_prepared(stages[-1], pass_, target)
        stages.append(after)
        in_order.append(dataclasses.replace(record, name=name))
    whole = all(record.status is not PassStatus.ERROR for record in in_order)
    missed = _leave_one_out(stages, chosen, target) if leave_one_out and whole else [None] * len(chosen)
    rows = zip(alone, in_order, missed, strict=True)
    return Attribution(
        nodes_before=count_nodes(model),
        nodes_after=count_nodes(stages[-1]),
        constants_before=_constants(model),
        constants_after=_constants(stages[-1]),
        target=target,
        passes=tuple(_row(isolated, record, missing) for isolated, record, missing in rows),
        records=tuple(in_order),
        optimized=stages[-1],
    )


def _columns(passes: Sequence[AnyPass]) -> list[str]:
    """The names of the rows: a pass that stands in the pipeline again is ``name#2``, so that no row hides another."""
    seen: Counter[str] = Counter()
    names = []
    for name in map(pass_name, passes):
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _leave_one_out(stages: Sequence[ir.Model], passes: Sequence[AnyPass], target: Target) -> list[int | None]:
    """For each pass the node count with it minus the one without it; the stages before the pass are shared."""
    full = count_nodes(stages[-1])
    deltas: list[int | None] = []
    for index in range(len(passes)):
        model = stages[index]
        statuses = set()
        for pass_ in passes[index + 1 :]:
            model, record = run_prepared(model, pass_, target)
            statuses.add(record.status)
        deltas.append(None if PassStatus.ERROR in statuses else full - count_nodes(model))
    return deltas


def _row(isolated: PassRecord, in_order: PassRecord, leave_one_out: int | None) -> PassAttribution:
    statuses = (isolated.status, in_order.status)
    return PassAttribution(
        name=in_order.name,
        isolated=_delta(isolated),
        in_order=_delta(in_order),
        leave_one_out=leave_one_out,
        status=PassStatus.ERROR if PassStatus.ERROR in statuses else in_order.status,
        isolated_status=isolated.status,
        reasons=tuple(Counter(refused.reason for refused in in_order.refusals).most_common()),
        seconds=in_order.seconds,
        error=in_order.error or isolated.error,
    )


def _delta(record: PassRecord) -> int | None:
    return None if record.status is PassStatus.ERROR else record.delta


def _constants(model: ir.Model) -> int:
    return count_nodes(model, constants=True) - count_nodes(model)
