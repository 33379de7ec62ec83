"""A graph in a runtime: whether it loads, whether its weights are kept, and what its numbers are against torch's."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.accuracy.assessment import giving_back, standard_variants
from pytest_modelcheck.accuracy.cause import GRAPH_AT_FAULT, Subject, answered, other_runtimes, second_opinion
from pytest_modelcheck.accuracy.first_divergence import find_first_divergence
from pytest_modelcheck.accuracy.places import node_place
from pytest_modelcheck.accuracy.size_variants import Draw
from pytest_modelcheck.accuracy.stage_run import plan
from pytest_modelcheck.accuracy.stages import (
    CONVERSION,
    Inputs,
    Run,
    Stage,
    at_sizes,
    feeds_for,
    session_stage,
    torch_stage,
)
from pytest_modelcheck.accuracy.sweep import sweep
from pytest_modelcheck.accuracy.sweep_report import PairReport
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.accuracy.variants import Variant, vocabularies_of
from pytest_modelcheck.accuracy.weights import WeightsReport, compare_weights
from pytest_modelcheck.errors import ModelCaseError, ModelCheckError
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.result import Finding
from pytest_modelcheck.runtimes import FeedError, How, Session, SessionError, open_session, runtime_named

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeReport:
    """What a runtime makes of the graphs of one case.

    Attributes:
        pairs: Each graph in the runtime against the reference; those that it could not load are missing.
        seeds, varied: How many inputs ran, and how many of them were of other kinds or sizes than the case draws.
        weights: Weights that were compared exactly, over all graphs; None where the runtime does not show them.
        findings: What is wrong.
        fixed: Why the module was converted at fixed sizes where the case has dynamic ones.
    """

    pairs: tuple[PairReport, ...]
    seeds: int
    varied: int
    weights: int | None
    findings: tuple[Finding, ...]
    fixed: str = ""


@dataclass(slots=True)
class _Loaded:
    """What became of loading a graph; the session is kept of a module, whose conversion says which sizes it takes."""

    error: SessionError | None = None
    weights: WeightsReport | None = None
    session: Session | None = None

    def open(self, path: Path, how: How, name: str) -> Session:
        if self.error is not None:
            raise self.error
        try:
            return self.session or open_session(path, how, name=name)
        except SessionError as error:
            self.error = error
            raise


def check_in_runtime(
    graphs: Mapping[str, Path],
    inputs: Callable[..., Inputs],
    subject: Subject,
    *,
    seeds: Sequence[int],
    varied: bool = True,
    tolerances: Tolerances = DEFAULTS,
) -> RuntimeReport:
    """Load each graph into ``subject.how.runtime``, compare its weights exactly, and run it beside the reference.

    The reference is the torch module; for a case that is only an .onnx file, its exported graph in another runtime.

    Args:
        graphs: Stage (``"exported"``, ``"optimized"``) -> file; of a runtime `of_module`, ``"module"`` -> program.
        inputs: seed -> inputs.
        subject: The case and its graphs, and how they are run.
        seeds: At least one.
        varied: Whether some seeds run other kinds and sizes of inputs; of a runtime that fixes sizes, other kinds.
        tolerances: How closely the outputs must agree.

    Raises:
        RuntimeMissingError: if the runtime is not installed.
        ModelCaseError: if there is nothing to compare with.
    """
    runtime = runtime_named(subject.how.runtime)
    runtime.require()
    label = runtime.title
    subject = dataclasses.replace(subject, how=at_sizes(subject.how, inputs(seeds[0])))
    loaded: dict[str, _Loaded] = {}
    reference = _reference(subject)
    stages = [reference]
    for stage, path in graphs.items():
        name = f"{stage} in {label}"
        loaded[name] = _Loaded()
        if runtime.of_module:
            with contextlib.suppress(SessionError):
                loaded[name].session = loaded[name].open(path, subject.how, name)
        stages.append(_stage(name, path, subject, reference.name, loaded[name]))
    with contextlib.ExitStack() as held:  # one look at the module before it runs: see `assess`
        drawn = inputs(seeds[0])
        variants = _variants(subject, drawn, inputs, held) if varied else ()
        if runtime.freezes:
            variants = tuple(variant for variant in variants if not variant.sizes)
        sessions = [entry.session for entry in loaded.values() if entry.session is not None]
        variants = tuple(each for each in variants if all(_takes(session, each, drawn) for session in sessions))
        stages[0] = giving_back(reference, held)
        report = sweep(stages, inputs, seeds=seeds, variants=variants, tolerances=tolerances, model=subject.case.name)
    stages[0] = reference
    findings = []
    for finding in report.findings:
        pair = next((pair for pair in report.pairs if pair.finding is finding), None)
        failed = next((name for name in loaded if pair is None and repr(name) in finding.subject), None)
        if failed is not None and (error := loaded[failed].error):
            others = [each for each in graphs if loaded[f"{each} in {label}"].error is None]
            findings.append(_not_loaded(finding, failed, label, error, subject, others))
        elif failed is not None and finding.expected == "outputs":
            findings.append(_not_run(finding, failed, label, subject, inputs(seeds[0])))
        elif pair is not None:
            findings.append(_explained(finding, pair, stages, subject, tolerances, inputs, _planned(seeds, variants)))
        else:
            findings.append(finding)
    for name, entry in loaded.items():
        changed = (
            entry.weights.finding(subject.case.name, f"{name} against the file", _CHANGED) if entry.weights else None
        )
        findings += [changed] if changed else []
    compared = [len(entry.weights.compared) for entry in loaded.values() if entry.weights]
    return RuntimeReport(
        pairs=report.pairs,
        seeds=len(report.seeds),
        varied=len(report.variants),
        weights=sum(compared) if compared else None,
        findings=tuple(findings),
        fixed=next((session.fixed for session in sessions), ""),
    )


def _takes(session: Session, variant: Variant, drawn: Inputs) -> bool:
    """Whether the sizes of a variant are among those that the module was converted for."""
    if not variant.sizes:
        return True
    try:
        session.signature.checked(feeds_for(session, variant.apply(drawn, 0)))
    except FeedError:
        return False
    except Exception:  # inputs(seed, sizes) is anybody's code: the sweep says what it raises
        return True
    return True


_GRAPH = "The graph gives these numbers in another runtime as well: expect_accuracy names what made it so."
_CHANGED = "The runtime holds other weights than the file: its converter rounded or replaced them."


def _reference(subject: Subject) -> Stage:
    if subject.module is not None:
        return torch_stage(subject.case, subject.module)
    how = _other(subject)
    if how is None:
        raise ModelCaseError(f"{subject.case.name} is an .onnx file, and no other runtime is installed to compare with")
    label = runtime_named(how.runtime).title
    return session_stage(f"exported in {label}", subject.exported, how=how)


def _other(subject: Subject) -> How | None:
    """Another runtime that can be asked about the exported graph: the fastest that is installed."""
    others = [*other_runtimes(subject.how.runtime, subject.exported)]
    return How(runtime=others[-1].name, threads=subject.how.threads) if others else None


def _stage(name: str, path: Path, subject: Subject, against: str, loaded: _Loaded) -> Stage:
    @contextlib.contextmanager
    def opened() -> Iterator[Run]:
        session = loaded.open(path, subject.how, name)
        if session.weights is not None:
            loaded.weights = compare_weights(ir.load(path), session.weights())
        yield lambda inputs: session.run(feeds_for(session, inputs))

    return Stage(name=name, open=opened, against=against, step=CONVERSION)


def _variants(subject: Subject, drawn: Inputs, draw: Draw, held: contextlib.ExitStack) -> tuple[Variant, ...]:
    if subject.module is None:
        return standard_variants(subject, drawn, {}, draw)
    module = held.enter_context(subject.module())
    return standard_variants(subject, drawn, vocabularies_of(subject.case, module, drawn), draw)


def _planned(seeds: Sequence[int], variants: Sequence[Variant]) -> Callable[[int, Inputs], Inputs]:
    entries = {entry.seed: entry for entry in plan(seeds, variants)}
    return lambda seed, drawn: entries[seed].inputs(drawn)


_MADE_UP = re.compile(r"[\w./:]*[\d/_][\w./:]*")
"""What an exporter calls a node, such as ``node_gru__1`` and ``/rnn/GRU``: no plain word is taken for a name."""


def _not_loaded(
    finding: Finding, name: str, label: str, error: SessionError, subject: Subject, others: Sequence[str]
) -> Finding:
    """Converted or why not: the operators that the runtime lacks or the nodes that it names, and their modules."""
    operators, graph = error.operators, subject.graph(name)
    lacking, words = {op.replace(":", ".") for op in operators}, {*_MADE_UP.findall(str(error))}
    of_graph = () if graph is None or runtime_named(subject.how.runtime).of_module else all_nodes(graph)
    nodes = [node for node in of_graph if _names(node) & lacking or node.name in words]
    places = [*error.where, *(node_place(node) for node in nodes)]
    shown = [*places[:SHOWN], *([f"... and {len(places) - SHOWN} more"] if len(places) > SHOWN else [])]
    advice = "" if runtime_named(subject.how.runtime).of_module else ", or export to another opset"
    if operators:
        step = f"Write these modules in operators that {label} has{advice}."
    else:
        step = f"The runtime's own words: look for them in its issues{advice}."
    if name.startswith("exported") and "optimized" in others:
        step = f'{label} loads the optimized graph: where that is deployed, ask for it alone, stage="optimized".'
    return Finding(
        gate=finding.gate,
        model=finding.model,
        subject=name,
        expected="a graph that the runtime converts and loads",
        found=f"{', '.join(operators)}: no such operator" if operators else str(error).removeprefix(f"{name}: "),
        where=tuple(shown),
        next=step,
    )


def _not_run(finding: Finding, name: str, label: str, subject: Subject, inputs: Inputs) -> Finding:
    """The finding with whether another runtime runs the same graph."""
    how, graph = _other(subject), subject.graph(name)
    if how is None or graph is None:
        return finding
    other = runtime_named(how.runtime).title
    try:
        with session_stage(other, graph, how=how).open() as run:
            run(inputs)
    except ModelCheckError as error:
        said, step = f"nor does {other} run it: {error}", "The graph is not valid, or does not fit the inputs."
    else:
        said = f"{other} runs the {'exported' if runtime_named(subject.how.runtime).of_module else 'same'} graph"
        step = f"Look for these words in the issues of {label}, or write the module in other operators."
    return dataclasses.replace(finding, where=(*finding.where, said), next=finding.next or step)


def _names(node: ir.Node) -> set[str]:
    return {node.op_type, f"{node.domain}.{node.op_type}"}


def _explained(
    finding: Finding,
    pair: PairReport,
    stages: Sequence[Stage],
    subject: Subject,
    tolerances: Tolerances,
    inputs: Callable[[int], Inputs],
    planned: Callable[[int, Inputs], Inputs],
) -> Finding:
    """The finding with what another runtime says of the same graph and inputs, and the first node that differs."""
    if pair.worst is None or pair.worst_seed is None or pair.worst.reference_nan:
        return finding
    if not any(output.status.failed for output in pair.worst.outputs):
        return finding
    worst = inputs(pair.worst_seed)
    if pair.worst_variant:
        worst = planned(pair.worst_seed, worst)
    graph = subject.graph(pair.candidate)
    assert graph is not None

    def opinion() -> Sequence[str]:
        return second_opinion(pair, subject, {stage.name: stage for stage in stages}, worst, tolerances)

    def divergence() -> Sequence[str]:
        how = _other(subject)
        if how is None or runtime_named(subject.how.runtime).of_module:
            return ()
        found = find_first_divergence(graph, graph, worst, tolerances=tolerances, how=subject.how, reference_how=how)
        said = f"against {runtime_named(how.runtime).title}: "
        return [said + line for line in found.describe()] if found else (f"{said}the outputs agree",)

    opinions = answered(opinion)
    step = _GRAPH if any(line.endswith(GRAPH_AT_FAULT) for line in opinions) else finding.next
    return dataclasses.replace(finding, where=(*finding.where, *opinions, *answered(divergence)), next=step)
