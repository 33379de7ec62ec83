"""Everything the accuracy gate asks of one model: the sweep, the weights; for what failed, its cause and a replay."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_modelcheck.accuracy.branches import branches_without_a_run
from pytest_modelcheck.accuracy.cause import Subject, at_padding, explained, guilty_pass_lines
from pytest_modelcheck.accuracy.mistranslated import mistranslated
from pytest_modelcheck.accuracy.replay import Replay, save_replay, versions
from pytest_modelcheck.accuracy.sensitivity import MAGNIFIED, Magnified, magnified, without
from pytest_modelcheck.accuracy.size_variants import Draw, dynamic_axes_of, shape_variants
from pytest_modelcheck.accuracy.stage_run import plan
from pytest_modelcheck.accuracy.stages import RUNTIME, Inputs, Run, Stage, flat_arrays, for_step
from pytest_modelcheck.accuracy.sweep import SEEDS, sweep
from pytest_modelcheck.accuracy.sweep_report import PairReport, SweepReport
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.accuracy.variants import Variant, kind_variants, vocabularies_of
from pytest_modelcheck.accuracy.weights import compare_weights
from pytest_modelcheck.calling.sizes import offers_sizes
from pytest_modelcheck.result import Finding
from pytest_modelcheck.runtimes.freed_memory import release_mapped_weights
from pytest_modelcheck.store import Store

EXPORT_CHANGED = (
    "The exported file does not hold the module's weights: the module was changed after the export, the file after it "
    "was written, or the exporter computed them again. Export again, or compare the two named values."
)


def assess(
    stages: Sequence[Stage],
    inputs: Callable[..., Inputs],
    subject: Subject,
    *,
    seeds: Iterable[int] = SEEDS,
    varied: bool = True,
    tolerances: Tolerances = DEFAULTS,
    store: Store | None = None,
) -> SweepReport:
    """`sweep`, with variants of the inputs and the weights compared; findings say what they are due to.

    Args:
        stages: See `sweep`; named as `standard_stages` names them.
        inputs: seed -> inputs; of a case that `offers_sizes` also (seed, sizes) -> inputs.
        subject: What the stages are made of.
        seeds: At least one.
        varied: Whether some seeds run other kinds and sizes of inputs.
        tolerances: How closely each stage must agree with its reference.
        store: Where replay files are kept; None keeps none.
    """
    seeds = tuple(seeds)
    drawn = inputs(seeds[0])
    with contextlib.ExitStack() as held:
        # One look at the module before it runs: every lending after it is given back builds it again.
        vocabularies, changed = _look_at_module(subject, drawn, held)
        variants = standard_variants(subject, drawn, vocabularies, inputs) if varied else ()
        stages = (giving_back(stages[0], held), *stages[1:])
        report = sweep(stages, inputs, seeds=seeds, variants=variants, tolerances=tolerances, model=subject.case.name)
    entries = {entry.seed: entry for entry in plan(seeds, variants)}
    named = {stage.name: stage for stage in stages}
    findings, pairs, notes = list(report.findings), list(report.pairs), list(report.notes)

    def ran(seed: int) -> Inputs:
        drawn = inputs(seed)
        return entries[seed].inputs(drawn) if seed in report.variants else drawn  # one that was left out ran as drawn

    for index, pair in enumerate(report.pairs):
        if pair.finding not in findings or pair.finding is None or pair.worst_seed is None or pair.worst is None:
            continue
        worst = ran(pair.worst_seed)
        asked = for_step(tolerances, pair.step)
        finding = at_padding(pair, named, worst, asked) or mistranslated(pair, named, worst, asked)
        rounding = None if finding is not None else _rounding(pair, subject, named, ran, asked)
        if rounding is not None and rounding.excused:
            pairs[index] = without(pair)
            findings.remove(pair.finding)
            notes.append(f"{pair.candidate} against {pair.reference} agrees up to rounding: {rounding.line}")
            continue
        if rounding is not None:
            where = (*pair.finding.where, rounding.line, *rounding.places)
            finding = dataclasses.replace(pair.finding, where=where, next=MAGNIFIED)
        elif finding is None:
            finding = explained(pair, subject, named, worst, asked)
        if finding is not None and store is not None and any(output.status.failed for output in pair.worst.outputs):
            finding = _with_replay(finding, pair, subject, named[pair.reference], worst, asked, store)
        findings[findings.index(pair.finding)] = finding or pair.finding
    if report.pairs:
        notes += _branches(subject, [ran(seed) for seed in report.seeds])
    findings += [finding for finding in (changed, _changed_by_a_pass(subject, drawn)) if finding is not None]
    release_mapped_weights(subject.exported)
    return dataclasses.replace(report, pairs=tuple(pairs), findings=tuple(findings), notes=tuple(notes))


def _branches(subject: Subject, inputs: Sequence[Inputs]) -> Sequence[str]:
    try:
        return branches_without_a_run(subject.exported, inputs, subject.how)
    except Exception as error:  # anybody's graph, and a note alone
        return (f"branches of If nodes were not looked at: {type(error).__name__}: {error}",)


def _rounding(
    pair: PairReport,
    subject: Subject,
    stages: Mapping[str, Stage],
    inputs: Callable[[int], Inputs],
    tolerances: Tolerances,
) -> Magnified | None:
    graph = subject.graph(pair.candidate)
    if graph is None:
        return None
    try:
        return magnified(pair, graph, stages, inputs, tolerances, subject.how)
    except Exception:  # anybody's module and graph: the finding is then explained as others are
        return None


def _look_at_module(
    subject: Subject, drawn: Inputs, held: contextlib.ExitStack
) -> tuple[Mapping[str, int], Finding | None]:
    """What variants have to know about the module, and whether the export holds its weights. `held` holds it on."""
    if subject.module is None:
        return {}, None
    module = held.enter_context(subject.module())
    report = compare_weights(module, subject.exported)
    release_mapped_weights(subject.exported)
    finding = report.finding(subject.case.name, "exported against torch", EXPORT_CHANGED)
    return vocabularies_of(subject.case, module, drawn), finding


def giving_back(stage: Stage, held: contextlib.ExitStack) -> Stage:
    """`stage`, which gives back what `held` holds when it is closed."""

    @contextlib.contextmanager
    def opened() -> Iterator[Run]:
        with held, stage.open() as run:
            yield run

    return dataclasses.replace(stage, open=opened)


def standard_variants(
    subject: Subject, drawn: Inputs, vocabularies: Mapping[str, int], draw: Draw | None = None
) -> tuple[Variant, ...]:
    """Other sizes first, then other kinds of values: see `accuracy.variants`."""
    axes = dynamic_axes_of(subject.case, subject.exported, drawn)
    sized = draw if offers_sizes(subject.case) else None
    return (*shape_variants(drawn, axes, sized), *kind_variants(drawn, vocabularies))


def _changed_by_a_pass(subject: Subject, drawn: Inputs) -> Finding | None:
    if subject.optimized is None:
        return None
    report = compare_weights(subject.exported, subject.optimized)
    finding = report.finding(subject.case.name, "optimized against exported")
    if finding is None:
        return None
    return dataclasses.replace(
        finding, where=tuple(dict.fromkeys((*finding.where, *guilty_pass_lines(subject, drawn))))
    )


def _with_replay(
    finding: Finding,
    pair: PairReport,
    subject: Subject,
    reference: Stage,
    inputs: Inputs,
    tolerances: Tolerances,
    store: Store,
) -> Finding:
    name = re.sub(r"[^\w.-]+", "-", f"{subject.case.name}-{subject.case.exporter}-{pair.candidate}")
    candidate = subject.graph(pair.candidate)
    assert pair.worst_seed is not None
    replay = Replay(
        model=subject.case.name,
        reference=pair.reference,
        candidate=pair.candidate,
        path=f"{name}.onnx",
        how=dataclasses.replace(subject.how, optimizer=pair.step == RUNTIME),
        seed=pair.worst_seed,
        variant=pair.worst_variant,
        tolerances=tolerances,
        versions=versions(subject.how.runtime),
    )
    try:
        with reference.open() as run, store.making("replay", {"of": name}) as scratch:
            kept = None
            if scratch is not None:
                save_replay(scratch / f"{name}.npz", replay, flat_arrays(inputs), run(inputs), candidate)
                kept = store.keep("replay", {"of": name}, None, files=scratch)
        wrong: object = "" if kept is not None else "; ".join(store.notes)
    except Exception as error:  # a reference that fails now: the finding must not be lost
        kept, wrong = None, error
    if kept is None:
        return dataclasses.replace(finding, where=(*finding.where, f"no replay file: {wrong}"))
    file = (kept.folder / f"{name}.npz").resolve()
    shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    command = f"python -m pytest_modelcheck replay {shown}"
    return dataclasses.replace(
        finding, next="\n".join(part for part in (finding.next, f"Run the worst input again: {command}") if part)
    )
