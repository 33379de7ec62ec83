"""Many seeds through every stage of a model, and what each stage differs from its reference by.

Stages run one after the other, all seeds each, and are closed again: at no time do more than the module and one session
hold weights, and a session is made once, not per seed. Outputs wait on disk where they are large.

Some of the seeds run variants of the drawn inputs (`accuracy.variants`): every other seed from the last one, or, where
there are fewer seeds than twice the variants, further seeds.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pytest_modelcheck.accuracy.pairs import compare_pair
from pytest_modelcheck.accuracy.stage_run import Planned, Ran, plan, run_stage
from pytest_modelcheck.accuracy.stages import Inputs, Stage, for_step, within
from pytest_modelcheck.accuracy.store import OutputStore
from pytest_modelcheck.accuracy.sweep_report import PairReport, SweepReport, accuracy_error
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.accuracy.variants import Variant
from pytest_modelcheck.accuracy.watched_inputs import WatchedInputs
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory

SEEDS = range(20)


def sweep(
    stages: Sequence[Stage],
    inputs: Callable[[int], Inputs],
    *,
    seeds: Iterable[int] = SEEDS,
    variants: Sequence[Variant] = (),
    tolerances: Tolerances = DEFAULTS,
    model: str = "",
) -> SweepReport:
    """Run every seed through every stage and compare each stage with its reference.

    Args:
        stages: In order; a stage's reference comes before it.
        inputs: seed -> inputs, e.g. by `calling.module_inputs`. Called once per stage and seed; equal seeds must give
            equal inputs.
        seeds: At least one.
        variants: Other kinds and sizes of inputs. One that the first stage cannot run, gives NaN or infinities for, or
            is unstable on, is left out with a note, and its seed runs as drawn; one that only a later stage cannot run
            is a failure of that stage. Where inputs or a stage are random, that is the only finding.
        tolerances: How closely each stage must agree with its reference.
        model: Named in findings.

    Raises:
        ValueError: for no seed, no pair, a stage named twice, or one whose reference does not come before it.
    """
    seeds = tuple(seeds)
    _check(stages, seeds)
    planned = plan(seeds, variants)
    source = WatchedInputs(inputs, model)
    pairs: list[PairReport] = []
    findings: list[Finding] = []
    notes: dict[str, str] = {}
    seconds: dict[str, float] = {}
    ran: dict[str, Ran] = {}
    left_out: tuple[str, ...] = ()
    useless: set[str | None] = set()  # stages that a finding has already said to give NaN, or nothing to compare

    def at(stage: Stage) -> Callable[[Planned], Tolerances]:
        asked = for_step(tolerances, stage.step)
        return lambda entry: within(asked, entry.inputs(source(entry.seed))) if asked.valid else asked

    with contextlib.suppress(Exception):  # whatever they raise becomes a finding of the first stage
        source(seeds[0])
        source(seeds[0])
    with OutputStore() as store:
        for index, stage in enumerate(() if source.changed else stages):
            started = time.perf_counter()
            result = run_stage(stage, source, _of_stage(stage, planned), store, tolerances)
            return_freed_memory(collect=False)
            seconds[stage.name] = time.perf_counter() - started
            notes |= {stage.name: result.note} if result.note else {}
            if result.finding:
                findings = _with_error(findings, result.finding, stage.name)
                if result.random:
                    break
                continue
            ran[stage.name] = result
            if stage.against is None:
                planned, left_out = result.planned, left_out + result.left_out
            elif stage.against in ran:
                pair = compare_pair(ran[stage.against], result, store, at(stage), model, notes, source.distinct > 1)
                pairs.append(pair)
                told = stage.against in useless and (pair.worst is None or pair.worst.reference_nan or _is_empty(pair))
                findings += [pair.finding] if pair.finding and not told else []
                if pair.worst is not None and (pair.worst.has_nan or _is_empty(pair)):
                    useless |= {stage.against, stage.name}
            else:
                findings.append(_unmeasured(stage, model))
            store.keep_only({later.against for later in stages[index + 1 :]})
    findings = [*([] if source.changed else findings), *source.findings()]  # each stage was fed something else
    return SweepReport(
        model=model,
        seeds=tuple(entry.seed for entry in planned),
        variants={entry.seed: entry.label for entry in planned if entry.label},
        pairs=tuple(pairs),
        findings=tuple(findings),
        notes=(*notes.values(), *left_out, *source.notes()),
        seconds=seconds,
    )


def _of_stage(stage: Stage, planned: Sequence[Planned]) -> tuple[Planned, ...]:
    """What a stage runs: all, or the first of every so many seeds and every variant."""
    drawn = [entry for entry in planned if entry.variant is None][:: stage.every]
    some = {entry.seed for entry in drawn}
    return tuple(entry for entry in planned if entry.variant is not None or entry.seed in some)


def _check(stages: Sequence[Stage], seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise ValueError("a sweep needs at least one seed")
    before: dict[str, Stage] = {}
    for stage in stages:
        if stage.name in before:
            raise ValueError(f"stage {stage.name!r} is there twice")
        if stage.against is not None and stage.against not in before:
            raise ValueError(f"stage {stage.name!r} is compared with {stage.against!r}, which does not come before it")
        if stage.every < 1 or (stage.against is not None and before[stage.against].every != 1):
            raise ValueError(f"stage {stage.name!r}: every is at least 1, and 1 for a stage others are held against")
        before[stage.name] = stage
    if all(stage.against is None for stage in stages):
        raise ValueError("no stage is compared with another: nothing would be measured")


def _with_error(findings: list[Finding], error: Finding, stage: str) -> list[Finding]:
    """One finding for one reason: an operator that is not known stops each stage with it."""
    for index, known in enumerate(findings):
        if known.subject.startswith("stage ") and _reason(known) == _reason(error):
            more = replace(known, where=(*known.where, f"so does stage {stage!r}"))
            return [*findings[:index], more, *findings[index + 1 :]]
    return [*findings, error]


def _reason(error: Finding) -> str:
    """What was raised, without the name of the stage and the path of its file."""
    stage = error.subject.removeprefix("stage ").strip("\"'")
    return re.sub(r"/\S+\.onnx", "", error.found.replace(stage, ""))


def _is_empty(pair: PairReport) -> bool:
    """Whether nothing differs, and nothing could be compared: a constant output."""
    return pair.finding is not None and pair.finding.verdict is Verdict.ERROR


def _unmeasured(stage: Stage, model: str) -> Finding:
    return accuracy_error(
        model,
        f"stage {stage.name!r}",
        f"a comparison with {stage.against!r}",
        f"none: stage {stage.against!r} did not run",
    )
