"""What each pass is worth on one model: alone, in its place, and missed.

- isolated: the pass alone on the exported model.
- in order: the pass in its place in the pipeline.
- leave-one-out: the pipeline with and without the pass; -72 means that without it 72 more nodes would be left.

All three are signed changes of the node count (graph/counts.py has the rule). What else a pass changes is told of its
run in order: operators, Constant nodes, bytes of initializers, seconds.
"""

from __future__ import annotations

import pytest_modelcheck.late_sympy  # noqa: F401 - before onnx_ir

# isort: split

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import count_nodes, op_counts
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.graph.from_proto import model_from_proto
from pytest_modelcheck.graph.scopes import graphs
from pytest_modelcheck.passes import Pass, Target
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline import (
    AnyPass,
    PassRecord,
    PassStatus,
    as_passes,
    check_target,
    checked_copy,
    pass_name,
    run_each_alone,
    run_one_by_one,
)
from pytest_modelcheck.pipeline.in_place import count_after

Watch = Callable[[int, ir.Model], None]


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
        ops: Operator -> signed change of its count in order; operators that stay as often are left out.
        constants: Signed change of the number of Constant nodes in order.
        bytes_before, bytes_after: Bytes of all initializers, before and after the run in order.
        notes: What the user has to know, in the pass's words, e.g. which of onnxruntime's rewrites fired.
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
    ops: dict[str, int]
    constants: int
    bytes_before: int
    bytes_after: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """The pass-attribution matrix of one model.

    Attributes:
        nodes_before, nodes_after: Node counts, Constants left out.
        constants_before, constants_after: Constant nodes beside them.
        ops_before, ops_after: Operator -> node count, Constants left out, sorted by name.
        bytes_before, bytes_after: Bytes of all initializers; what lies in Constant nodes is not among them.
        target: What the pipeline was allowed to use.
        passes: One row per pass, in pipeline order.
        records: What each pass did in order.
        optimized: The model after the last pass.
    """

    nodes_before: int
    nodes_after: int
    constants_before: int
    constants_after: int
    ops_before: dict[str, int]
    ops_after: dict[str, int]
    bytes_before: int
    bytes_after: int
    target: Target
    passes: tuple[PassAttribution, ...]
    records: tuple[PassRecord, ...]
    optimized: ir.Model

    @property
    def errors(self) -> tuple[PassAttribution, ...]:
        """The passes that failed."""
        return tuple(row for row in self.passes if row.status is PassStatus.ERROR)


def attribute(
    model: ir.Model | onnx.ModelProto | str | Path,
    *,
    passes: Sequence[AnyPass | str] | None = None,
    target: Target = "portable",
    leave_one_out: bool = True,
    watch: Watch | None = None,
) -> Attribution:
    """Measure every pass on `model`, which is not touched; runs share its weights, none has a copy.

    Args:
        model: A valid model, or the path of its file.
        passes: Passes or their names, ``"onnxslim"`` among them; default: `passes.PASSES`.
        target: ``portable``, ``opset23`` or ``onnxruntime``.
        leave_one_out: Also run the pipeline once without each pass: n more (partial) pipelines for n passes.
        watch: Called with 0 and the model as the first pass gets it, then with i + 1 and the model after pass i in
            order: the same object again where the pass changed nothing.

    Raises:
        InvalidModelError: if `model` does not pass the checker.
        OptionError: for a pass or target that does not exist, or a package that is not installed.
    """
    check_target(target)
    chosen = as_passes(passes, target)
    model = _as_ir(model)
    stages = [checked_copy(model)]
    in_order: list[PassRecord] = []
    _tell(watch, 0, stages[0])
    for name, (after, record) in zip(_columns(chosen), run_one_by_one(stages[0], chosen, target), strict=True):
        stages.append(after)
        in_order.append(dataclasses.replace(record, name=name))
        _tell(watch, len(in_order), after)
    alone = _alone(stages, in_order, chosen, target)
    whole = all(record.status is not PassStatus.ERROR for record in in_order)
    missed = _leave_one_out(stages, chosen, target) if leave_one_out and whole else [None] * len(chosen)
    weights, constants = [*map(initializer_bytes, stages)], [*map(_constants, stages)]
    return Attribution(
        nodes_before=count_nodes(model),
        nodes_after=count_nodes(stages[-1]),
        constants_before=constants[0],
        constants_after=constants[-1],
        ops_before=op_counts(stages[0]),
        ops_after=op_counts(stages[-1]),
        bytes_before=weights[0],
        bytes_after=weights[-1],
        target=target,
        passes=tuple(
            _row(alone[i], in_order[i], missed[i], constants[i + 1] - constants[i], (weights[i], weights[i + 1]))
            for i in range(len(chosen))
        ),
        records=tuple(in_order),
        optimized=stages[-1],
    )


def initializer_bytes(model: ir.Model) -> int:
    """Bytes of all initializers of the graph and its subgraphs, as they take in a file."""
    tensors = (value.const_value for graph in graphs(model) for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _as_ir(model: ir.Model | onnx.ModelProto | str | Path) -> ir.Model:
    if isinstance(model, onnx.ModelProto):
        return model_from_proto(model)
    return load_model(model) if isinstance(model, str | Path) else model


def _tell(watch: Watch | None, index: int, model: ir.Model) -> None:
    if watch is not None:
        watch(index, model)


def _columns(passes: Sequence[AnyPass]) -> list[str]:
    """The names of the rows: a pass that occurs in the pipeline again is ``name#2``, so that no row hides another."""
    seen: Counter[str] = Counter()
    names = []
    for name in map(pass_name, passes):
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _alone(
    stages: Sequence[ir.Model], in_order: Sequence[PassRecord], passes: Sequence[AnyPass], target: Target
) -> list[PassRecord]:
    """Each pass on the first model; those before the first change have been run on it in order.

    `Settle` by itself would be the whole pipeline: what it is worth is what it did in its place.
    """
    same = sum(stage is stages[0] for stage in stages[:-1])
    rest = [pass_ for pass_ in passes[same:] if not isinstance(pass_, Settle)]
    alone = iter(run_each_alone(stages[0], rest, target))
    later = zip(in_order[same:], passes[same:], strict=True)
    return [*in_order[:same], *(record if isinstance(pass_, Settle) else next(alone) for record, pass_ in later)]


def _leave_one_out(stages: Sequence[ir.Model], passes: Sequence[AnyPass], target: Target) -> list[int | None]:
    """For each pass the node count with it minus the one without it; the stages before the pass are shared."""
    full = count_nodes(stages[-1])
    deltas: list[int | None] = []
    settled = [i for i, pass_ in enumerate(passes) if isinstance(pass_, Settle) and stages[i] is not stages[i + 1]]
    for index, left_out in enumerate(passes):
        first = index + 1
        if stages[index] is stages[first]:  # it changed nothing: the others do without it what they did
            later = [i for i in settled if i > index]
            if not later:
                deltas.append(0)
                continue
            first = later[0]  # but for those that run it again
        name = pass_name(left_out)
        rest = [pass_.without(name) if isinstance(pass_, Settle) else pass_ for pass_ in passes[first:]]
        start = stages[index] if first == index + 1 else stages[first]
        left = _nodes_after(start, rest, target)
        deltas.append(None if left is None else full - left)
    return deltas


def _nodes_after(model: ir.Model, passes: Sequence[AnyPass], target: Target) -> int | None:
    """How many nodes `passes` leave of a prepared model, which is not touched; None where one of them fails."""
    ours = [pass_ for pass_ in passes if isinstance(pass_, Pass)]
    if len(ours) == len(passes) and (left := count_after(model, ours, target)) is not None:
        return left
    for after, record in run_one_by_one(model, passes, target):
        model = after
        if record.status is PassStatus.ERROR:
            return None
    return count_nodes(model)


def _row(
    isolated: PassRecord, in_order: PassRecord, leave_one_out: int | None, constants: int, weights: tuple[int, int]
) -> PassAttribution:
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
        ops=in_order.ops_delta,
        constants=constants,
        bytes_before=weights[0],
        bytes_after=weights[1],
        notes=in_order.notes,
    )


def _delta(record: PassRecord) -> int | None:
    return None if record.status is PassStatus.ERROR else record.delta


def _constants(model: ir.Model) -> int:
    return count_nodes(model, constants=True) - count_nodes(model)
