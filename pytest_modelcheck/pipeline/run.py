"""Running passes, and comparing what each one claims with what it did.

What a pass claims (its `modified` flag) and what changed (the graph, compared) are two facts. Our passes get the graph
with every shape that can be inferred; those of others get it as a file would have it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import onnx_ir as ir

from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.foreign import through_proto
from pytest_modelcheck.graph.compare import graphs_equal, interface
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.graph.declared import forget_inferred, remember_declared
from pytest_modelcheck.graph.gc_pause import GarbagePaused
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.graph.snapshot import Snapshot
from pytest_modelcheck.graph.validity import check_and_infer, check_model
from pytest_modelcheck.passes import TARGETS, Pass, Target
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline.pass_names import AnyPass, as_passes, pass_name
from pytest_modelcheck.pipeline.prepare import checked_copy, prepare
from pytest_modelcheck.pipeline.records import PassRecord, PassStatus
from pytest_modelcheck.result import Refused
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes


def run_pass(model: ir.Model, pass_: AnyPass, target: Target = "portable") -> tuple[ir.Model, PassRecord]:
    """Run one pass on a copy of `model` (weights shared) and compare.

    The result must pass onnx.checker and keep names, order, types and shapes of the graph's inputs and outputs.

    Returns:
        The new model and its record. On `PassStatus.ERROR` the model is `model` itself.
    """
    after, record = run_prepared(prepare(model), pass_, target)
    return (after if record.changed else model), record


def run_prepared(
    before: ir.Model, pass_: AnyPass, target: Target = "portable", *, goes_on: bool = True
) -> tuple[ir.Model, PassRecord]:
    """`run_pass` on a model that `prepare` or this function made; it is not touched.

    Args:
        goes_on: Prepare the result for a further pass; False where only the record is of interest.
    """
    with GarbagePaused():
        after, record = _run(_Stage(before), pass_, target, goes_on=goes_on)
    return after.model, record


def run_each_alone(before: ir.Model, passes: Sequence[AnyPass], target: Target = "portable") -> list[PassRecord]:
    """The record of each pass on a model that `prepare` or this module made; it is not touched."""
    ops, own = op_counts(before), before.clone()
    snapshot, shapes, records = Snapshot(own), SymbolicShapes(own), []
    shapes.derive_all()
    for pass_ in passes:
        with GarbagePaused():
            stage = _Stage(before, ops, spare=own, shapes=shapes.copy()) if isinstance(pass_, Pass) else _Stage(before)
            records.append(_run(stage, pass_, target, goes_on=False)[1])
            if stage.spare is None:
                snapshot.restore()
    return records


def run_one_by_one(
    before: ir.Model, passes: Sequence[AnyPass], target: Target = "portable"
) -> Iterator[tuple[ir.Model, PassRecord]]:
    """`run_pipeline` on a model that `prepare` or this module made: the model after each pass, and the record.

    Where a pass changed nothing, the model is the same object as before it.
    """
    stage = _Stage(before)
    for pass_ in passes:
        with GarbagePaused():
            stage, record = _run(stage, pass_, target)
        yield stage.model, record


@dataclass(slots=True)
class _Stage:
    """A model between two passes, and a copy of it that the next pass may edit.

    A pass of ours edits the copy in place, and the next one gets it with what is known about its `shapes`; the model
    that stays is a copy of that. `idle` are the passes that have found nothing to do in it.
    """

    model: ir.Model
    ops: dict[str, int] | None = None
    spare: ir.Model | None = None
    shapes: SymbolicShapes | None = None
    idle: set[Pass] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.ops is None:
            self.ops = op_counts(self.model)

    def copy(self) -> tuple[ir.Model, SymbolicShapes]:
        copy, shapes = self.spare or self.model.clone(), self.shapes
        self.spare = self.shapes = None
        return copy, SymbolicShapes(copy) if shapes is None else shapes


def _run(stage: _Stage, pass_: AnyPass, target: Target, *, goes_on: bool = True) -> tuple[_Stage, PassRecord]:
    before = stage.model
    ops = stage.ops or {}
    copy, shapes = stage.copy()
    ours = isinstance(pass_, Pass)
    if not ours:
        forget_inferred(copy)
    started = time.perf_counter()
    try:
        known = pass_.knowing(stage.idle) if isinstance(pass_, Settle) else pass_
        after, claimed, refusals, notes = _apply(copy, known, target, shapes)
        seconds = time.perf_counter() - started
        changed = not graphs_equal(before, after)
        if changed:
            if not ours:
                remember_declared(after)
            shapes.inferred(_check_result(before, after, pass_, infer=goes_on))
    except Exception as error:  # a pass may be anybody's code: whatever it raises becomes its record
        return stage, PassRecord(
            name=pass_name(pass_),
            status=PassStatus.ERROR,
            claimed=False,
            changed=False,
            ops_before=ops,
            ops_after=ops,
            seconds=time.perf_counter() - started,
            error=f"{type(error).__name__}: {error}",
        )
    if changed:
        stage = _Stage(after.clone(), spare=after, shapes=shapes) if ours and goes_on else _Stage(after)
    elif isinstance(pass_, Pass) and not claimed:
        stage.spare, stage.shapes = after, shapes
        stage.idle.add(pass_)
    record = PassRecord(
        name=pass_name(pass_),
        status=PassStatus.FIRED if changed else PassStatus.REFUSED if refusals else PassStatus.NO_OP,
        claimed=claimed,
        changed=changed,
        ops_before=ops,
        ops_after=stage.ops or {},
        refusals=refusals,
        seconds=seconds,
        notes=notes,
    )
    return stage, record


def _apply(
    model: ir.Model, pass_: AnyPass, target: Target, shapes: SymbolicShapes
) -> tuple[ir.Model, bool, tuple[Refused, ...], tuple[str, ...]]:
    if isinstance(pass_, Pass):
        outcome = dataclasses.replace(pass_, target=target).run(model, shapes)
        return model, outcome.modified, outcome.refusals, outcome.notes
    if isinstance(pass_, ir.passes.PassBase):
        result = pass_(model)
        return result.model, result.modified, getattr(result, "refusals", ()), getattr(result, "notes", ())
    return through_proto(model, pass_, name=pass_name(pass_)), True, (), ()


def _check_result(before: ir.Model, after: ir.Model, pass_: AnyPass, *, infer: bool) -> list[ir.Value]:
    """The values about which inference says something new."""
    compared = 3 if getattr(pass_, "changes_shapes", False) else 4
    for was, now in zip_longest(interface(before), interface(after)):
        if len(after.graph) and (was is None or now is None or was[:compared] != now[:compared]):
            raise PassFailedError(f"the graph's interface changed: {_row(was)} became {_row(now)}")
    if not getattr(pass_, "standard", True):  # more than onnx.checker knows, and meant to be
        return infer_shapes(after)
    if infer:
        return check_and_infer(after, what="the result")
    check_model(after, what="the result")
    return []


def _row(row: tuple[str, str, str, str] | None) -> str:
    return "nothing" if row is None else f"{row[0]} {row[1]!r} {row[2]} {row[3]}"


def run_pipeline(
    model: ir.Model, passes: Sequence[AnyPass | str] | None = None, target: Target = "portable"
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Run passes in order. `model` is not touched; weights are shared with the result.

    A pass that fails leaves its record with status `error`, and the pipeline goes on from the model before it.

    Args:
        model: A valid model.
        passes: Passes, or their names; default: `passes.passes_for(target)`.
        target: ``portable``, ``opset23``, ``onnxruntime`` or ``tflite``.

    Returns:
        The last model and one record per pass, in order.

    Raises:
        InvalidModelError: if `model` itself does not pass the checker.
    """
    check_target(target)
    records = []
    chosen = as_passes(passes, target)
    with GarbagePaused(thrown_away=len(model.graph) * len(chosen)) as garbage:
        stage = _Stage(checked_copy(model))
        for pass_ in chosen:
            nodes = len(stage.model.graph)
            stage, record = _run(stage, pass_, target)
            records.append(record)
            if record.changed:
                garbage.threw_away(nodes)
    return stage.model, tuple(records)


def check_target(target: str) -> None:
    """Raises OptionError, naming the known targets, if `target` is not one."""
    if target not in TARGETS:
        raise OptionError(f"target {target!r} is unknown; choose one of {', '.join(TARGETS)}")
