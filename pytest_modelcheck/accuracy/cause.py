"""What a failed comparison is due to: the pass, the rewrite, the node, the module; and a second opinion on the runtime.

Asked only where something failed. An explanation that cannot be made is a line that says why: it never hides the
finding that it was to explain.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.accuracy.comparison import compare
from pytest_modelcheck.accuracy.evaluator import evaluator_stage, is_small
from pytest_modelcheck.accuracy.first_divergence import find_first_divergence
from pytest_modelcheck.accuracy.guilty_pass import find_guilty_pass
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import EXPORT, PASSES, RUNTIME, Inputs, Lent, Stage
from pytest_modelcheck.accuracy.sweep_report import PairReport
from pytest_modelcheck.accuracy.switches import find_guilty_runtime_rewrite
from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.passes import Target
from pytest_modelcheck.pipeline import AnyPass
from pytest_modelcheck.result import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a sweep was about, as far as an explanation needs it.

    Attributes:
        case: The model case.
        module: Lends the torch module for the time of a `with` block; None for a case that is only an .onnx file.
        exported, optimized: The two graphs.
        passes, target: The pipeline between them.
        threads: Intra-op threads.
    """

    case: ModelCase
    module: Lent | None
    exported: ir.Model
    optimized: ir.Model | None
    passes: Sequence[AnyPass] | None = None
    target: Target = "portable"
    threads: int = 1

    def graph(self, stage: str) -> ir.Model | None:
        """The graph of a stage: ``exported`` or ``optimized``, under onnxruntime's optimizer or not."""
        return self.optimized if stage.startswith("optimized") else self.exported


def explained(
    pair: PairReport,
    subject: Subject,
    stages: Mapping[str, Stage],
    inputs: Inputs,
    atol: Width,
    rtol: Width,
) -> Finding | None:
    """The pair's finding, with what it is due to.

    Args:
        pair: One pair of a sweep.
        subject: See there.
        stages: All stages by name.
        inputs: Those of the pair's worst seed.
        atol, rtol: See `compare`.
    """
    finding = pair.finding
    if finding is None or pair.worst is None or pair.worst.reference_nan:
        return finding
    if not any(output.status.failed for output in pair.worst.outputs):
        return finding

    def guilty_pass() -> Sequence[str]:
        return _guilty_pass(subject, inputs, atol, rtol, weights=False)

    def divergence() -> Sequence[str]:
        candidate = subject.graph(pair.candidate)
        if candidate is None:
            return ()
        lent = subject.module if pair.step == EXPORT else None
        with contextlib.nullcontext(subject.exported) if lent is None else lent() as reference:
            found = find_first_divergence(
                reference, candidate, inputs, case=subject.case, atol=atol, rtol=rtol, threads=subject.threads
            )
        return found.describe() if found else ("no first difference: on one thread the outputs agree",)

    def runtime_rewrite() -> Sequence[str]:
        graph = subject.graph(pair.candidate)
        assert graph is not None
        found = find_guilty_runtime_rewrite(graph, inputs, atol=atol, rtol=rtol, threads=subject.threads)
        return (found.describe(),) if found else ("no rewrite of onnxruntime: run again, the outputs agree",)

    def opinion() -> Sequence[str]:
        return second_opinion(pair, subject, stages, inputs, atol, rtol)

    asked: dict[str, tuple[Callable[[], Sequence[str]], ...]] = {
        EXPORT: (divergence, opinion),
        PASSES: (guilty_pass, divergence),
        RUNTIME: (runtime_rewrite, opinion),
    }
    lines = [line for ask in asked.get(pair.step, ()) for line in _answer(ask)]
    return dataclasses.replace(finding, where=(*finding.where, *lines))


def guilty_pass_lines(subject: Subject, inputs: Inputs) -> Sequence[str]:
    """Which pass changed a weight, as lines for a finding's `where`."""

    def guilty_pass() -> Sequence[str]:
        return _guilty_pass(subject, inputs, None, None, weights=True)

    return _answer(guilty_pass)


def _guilty_pass(subject: Subject, inputs: Inputs, atol: Width, rtol: Width, *, weights: bool) -> Sequence[str]:
    guilty = find_guilty_pass(
        subject.exported,
        lambda seed: inputs,
        passes=subject.passes,
        target=subject.target,
        atol=atol,
        rtol=rtol,
        threads=subject.threads,
        weights=weights,
    )
    return guilty.describe() if guilty else ("no pass: the pipeline, run again, keeps the numbers",)


def _answer(ask: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return ask()
    except Exception as error:  # passes, modules and runtimes are anybody's code; the finding must not be lost
        return (f"not explained by {ask.__name__}: {type(error).__name__}: {error}",)


def second_opinion(
    pair: PairReport, subject: Subject, stages: Mapping[str, Stage], inputs: Inputs, atol: Width, rtol: Width
) -> tuple[str, ...]:
    """Which side onnx's reference evaluator takes; nothing for a model that is too large for it."""
    graph = subject.graph(pair.candidate)
    if graph is None or not is_small(graph):
        return ()

    def outputs(stage: Stage) -> Mapping[str, Array]:
        with stage.open() as run:
            return run(inputs)

    opinion = outputs(evaluator_stage("reference evaluator", graph))

    def agrees(name: str) -> bool:
        compared = compare(outputs(stages[name]), opinion, atol=atol, rtol=rtol)
        return not any(output.status.failed for output in compared.outputs)

    sides = [name for name in (pair.reference, pair.candidate) if agrees(name)]
    if len(sides) != 1:
        return (f"onnx's reference evaluator agrees with {'both' if sides else 'neither'}",)
    if sides == [pair.candidate]:
        return (f"onnx's reference evaluator agrees with {pair.candidate}: the graph is another one, not the runtime",)
    return (
        f"onnx's reference evaluator agrees with {pair.reference}: onnxruntime computes {pair.candidate} otherwise",
    )
