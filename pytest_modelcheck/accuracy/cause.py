"""What a failed comparison is due to: the pass, the rewrite, the node, the module; and a second opinion on the runtime.

Asked only where something failed. An explanation that cannot be made is a line that says why: it never hides the
finding that it was to explain.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.first_divergence import find_first_divergence
from pytest_modelcheck.accuracy.guilty_pass import find_guilty_pass
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import (
    EXPORT,
    PASSES,
    RUNTIME,
    SHIPPED,
    Inputs,
    Lent,
    Stage,
    flat_arrays,
    session_stage,
    within,
)
from pytest_modelcheck.accuracy.sweep_report import PairReport
from pytest_modelcheck.accuracy.switches import find_guilty_runtime_rewrite
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.accuracy.variants import is_padding_mask
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.passes import Target
from pytest_modelcheck.pipeline import AnyPass
from pytest_modelcheck.result import Finding
from pytest_modelcheck.runtimes import AS_WRITTEN, RUNTIMES, How, Runtime, SessionError, runtime_named

SMALL_NODES = 500
SMALL_BYTES = 32 * 1024 * 1024
"""A model with more nodes or weights than this is too slow for onnx's reference evaluator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a sweep was about, as far as an explanation needs it.

    Attributes:
        case: The model case.
        module: Lends the torch module for the time of a `with` block; None for a case that is only an .onnx file.
        exported, optimized: The two graphs.
        passes, target: The pipeline between them.
        how: How the graphs were run, as they are written.
    """

    case: ModelCase
    module: Lent | None
    exported: ir.Model
    optimized: ir.Model | None
    passes: Sequence[AnyPass] | None = None
    target: Target = "portable"
    how: How = AS_WRITTEN

    def graph(self, stage: str) -> ir.Model | None:
        """The graph of a stage: ``exported`` or ``optimized``, under onnxruntime's optimizer or not."""
        return self.optimized if stage.startswith("optimized") else self.exported


def explained(
    pair: PairReport,
    subject: Subject,
    stages: Mapping[str, Stage],
    inputs: Inputs,
    tolerances: Tolerances,
) -> Finding | None:
    """The pair's finding, with what it is due to.

    Args:
        pair: One pair of a sweep.
        subject: See there.
        stages: All stages by name.
        inputs: Those of the pair's worst seed.
        tolerances: How closely the outputs must agree.
    """
    finding = pair.finding
    if finding is None or pair.worst is None or pair.worst.reference_nan:
        return finding
    if not any(output.status.failed for output in pair.worst.outputs):
        return finding
    tolerances = within(tolerances, inputs)

    def guilty_pass() -> Sequence[str]:
        return _guilty_pass(subject, inputs, tolerances, weights=False)

    def divergence() -> Sequence[str]:
        candidate = subject.graph(pair.candidate)
        if candidate is None:
            return ()
        lent = subject.module if pair.step in (EXPORT, SHIPPED) else None
        with contextlib.nullcontext(subject.exported) if lent is None else lent() as reference:
            found = find_first_divergence(
                reference, candidate, inputs, case=subject.case, tolerances=tolerances, how=subject.how
            )
        return found.describe() if found else ("no first difference: on one thread the outputs agree",)

    def runtime_rewrite() -> Sequence[str]:
        graph = subject.graph(pair.candidate)
        assert graph is not None
        found = find_guilty_runtime_rewrite(graph, inputs, tolerances=tolerances, how=subject.how)
        return (found.describe(),) if found else ("no rewrite of onnxruntime: run again, the outputs agree",)

    def opinion() -> Sequence[str]:
        return second_opinion(pair, subject, stages, inputs, tolerances)

    asked: dict[str, tuple[Callable[[], Sequence[str]], ...]] = {
        EXPORT: (divergence, opinion),
        SHIPPED: (divergence, opinion),
        PASSES: (guilty_pass, divergence),
        RUNTIME: (runtime_rewrite, opinion),
    }
    lines = [line for ask in asked.get(pair.step, ()) for line in answered(ask)]
    return dataclasses.replace(finding, where=(*finding.where, *lines))


AT_PADDING = "equal at every position that input {!r} keeps: only padded positions differ"
LEAVE_OUT = (
    "The model's values at padded positions are free (a row that attends to nothing): leave them out by "
    "expect_accuracy(valid={!r}). If they are read, find out which side is wanted."
)


def at_padding(pair: PairReport, stages: Mapping[str, Stage], inputs: Inputs, tolerances: Tolerances) -> Finding | None:
    """The pair's finding, where padded positions alone differ: that is asked before anything is blamed; else None."""
    if pair.finding is None or pair.worst is None or pair.worst.reference_nan:
        return None
    if not any(output.status.failed for output in pair.worst.outputs):
        return None
    masked = _only_at_padding(pair, stages, inputs, within(tolerances, inputs))
    if masked is None:
        return None
    where = (*pair.finding.where, AT_PADDING.format(masked))
    return dataclasses.replace(pair.finding, where=where, next=LEAVE_OUT.format(masked))


def _only_at_padding(
    pair: PairReport, stages: Mapping[str, Stage], inputs: Inputs, tolerances: Tolerances
) -> str | None:
    """The padding mask among the inputs outside of whose zeros the two stages agree; None where there is none."""
    arrays = flat_arrays(inputs)
    masks = [name for name, array in arrays.items() if is_padding_mask(name, array)]
    if not masks or tolerances.valid:
        return None
    try:
        left, right = (_outputs(stages[name], inputs) for name in (pair.reference, pair.candidate))
        kept = {name: dataclasses.replace(tolerances, valid=name).at(arrays) for name in masks}
        return next((name for name in masks if _agree(left, right, kept[name])), None)
    except Exception:  # an explanation that cannot be made hides no finding
        return None


def _outputs(stage: Stage, inputs: Inputs) -> Mapping[str, Array]:
    with stage.open() as run:
        return run(inputs)


def guilty_pass_lines(subject: Subject, inputs: Inputs) -> Sequence[str]:
    """Which pass changed a weight, as lines for a finding's `where`."""

    def guilty_pass() -> Sequence[str]:
        return _guilty_pass(subject, inputs, DEFAULTS, weights=True)

    return answered(guilty_pass)


def _guilty_pass(subject: Subject, inputs: Inputs, tolerances: Tolerances, *, weights: bool) -> Sequence[str]:
    guilty = find_guilty_pass(
        subject.exported,
        lambda seed: inputs,
        passes=subject.passes,
        target=subject.target,
        tolerances=tolerances,
        how=subject.how,
        weights=weights,
    )
    return guilty.describe() if guilty else ("no pass reproduces the difference",)


def answered(ask: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return ask()
    except Exception as error:  # passes, modules and runtimes are anybody's code; the finding must not be lost
        return (f"not explained by {ask.__name__}: {type(error).__name__}: {error}",)


def is_small(model: ir.Model) -> bool:
    """Whether the reference evaluator's opinion comes within seconds."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return (
        sum(1 for _ in all_nodes(model)) <= SMALL_NODES
        and sum(tensor.nbytes for tensor in tensors if tensor is not None) <= SMALL_BYTES
    )


def other_runtimes(asked: str, graph: ir.Model) -> Iterator[Runtime]:
    """Installed runtimes beside the one that is asked about; onnx's evaluator first, and for small graphs alone."""
    for runtime in RUNTIMES[::-1]:
        if runtime.environment is not None or (runtime.name == "reference" and not is_small(graph)):
            continue
        if runtime.name != asked and runtime.installed:
            yield runtime


GRAPH_AT_FAULT = "the graph is at fault, not the runtime"


def second_opinion(
    pair: PairReport, subject: Subject, stages: Mapping[str, Stage], inputs: Inputs, tolerances: Tolerances
) -> tuple[str, ...]:
    """Which side another runtime takes: onnx's reference evaluator where the model is small, else what is installed."""
    graph = subject.graph(pair.candidate)
    if graph is None:
        return ()

    sides: dict[str, Mapping[str, Array]] = {}
    lines: list[str] = []
    for runtime in other_runtimes(subject.how.runtime, graph):
        sides = sides or {name: _outputs(stages[name], inputs) for name in (pair.reference, pair.candidate)}
        label = runtime.title
        try:
            opinion = _outputs(
                session_stage(label, graph, how=How(runtime=runtime.name, threads=subject.how.threads)), inputs
            )
        except SessionError as error:
            lines.append(f"no second opinion: {error}")
            continue
        agreeing = [name for name, side in sides.items() if _agree(side, opinion, tolerances)]
        if agreeing == [pair.candidate]:
            return (f"{label} agrees with {pair.candidate}: {GRAPH_AT_FAULT}",)
        if agreeing == [pair.reference]:
            said = f"{runtime_named(subject.how.runtime).title} computes {pair.candidate} differently"
            return (f"{label} agrees with {pair.reference}: {said}",)
        lines.append(f"{label} agrees with {'both' if agreeing else 'neither'}")
    return tuple(lines)


def _agree(left: Mapping[str, Array], right: Mapping[str, Array], tolerances: Tolerances) -> bool:
    return not any(output.status.failed for output in compare_within(left, right, tolerances).outputs)
