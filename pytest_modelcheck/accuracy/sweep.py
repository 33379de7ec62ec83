"""Many seeds through every stage of a model, and what each stage differs from its reference by.

Stages run one after the other, all seeds each, and are closed again: at no time do more than the module and one session
hold weights, and a session is made once, not per seed. Outputs wait on disk where they are large.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from pytest_modelcheck.accuracy.comparison import Comparison, compare
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.output import OutputStatus
from pytest_modelcheck.accuracy.stages import EXPORT, PASSES, RUNTIME, Inputs, Stage
from pytest_modelcheck.accuracy.store import OutputStore
from pytest_modelcheck.accuracy.sweep_report import PairReport, SeedResult, SweepReport, error_finding
from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.accuracy.watched_inputs import WatchedInputs
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.result import Finding
from pytest_modelcheck.runtime.memory import return_freed_memory

SEEDS = range(20)


def sweep(
    stages: Sequence[Stage],
    inputs: Callable[[int], Inputs],
    *,
    seeds: Iterable[int] = SEEDS,
    atol: Width = None,
    rtol: Width = None,
    model: str = "",
) -> SweepReport:
    """Run every seed through every stage and compare each stage with its reference.

    Args:
        stages: In order; a stage's reference comes before it.
        inputs: seed -> inputs, e.g. by `calling.module_inputs`. Called once per stage and seed; equal seeds must give
            equal inputs.
        seeds: At least one.
        atol, rtol: See `compare`.
        model: Named in findings.

    Raises:
        ValueError: for no seed, no pair, a stage named twice, or one whose reference does not come before it.
    """
    seeds = tuple(seeds)
    _check(stages, seeds)
    source = WatchedInputs(inputs, model)
    pairs: list[PairReport] = []
    findings: list[Finding] = []
    notes: dict[str, str] = {}
    seconds: dict[str, float] = {}
    ran: dict[str, Stage] = {}
    useless: set[str | None] = set()  # stages that a finding has already said to give NaN
    with OutputStore() as store:
        for index, stage in enumerate(stages):
            started = time.perf_counter()
            finding, note = _run_stage(stage, source, seeds[:: stage.every], store)
            return_freed_memory()
            seconds[stage.name] = time.perf_counter() - started
            notes |= {stage.name: note} if note else {}
            if finding:
                findings.append(finding)
                continue
            ran[stage.name] = stage
            if stage.against in ran:
                some = seeds[:: stage.every]
                pair = _compare_pair(
                    ran[stage.against], stage, some, store, atol, rtol, model, notes, source.distinct > 1
                )
                pairs.append(pair)
                told = stage.against in useless and pair.worst is not None and pair.worst.reference_nan
                findings += [pair.finding] if pair.finding and not told else []
                if pair.worst is not None and pair.worst.has_nan:
                    useless |= {stage.against, stage.name}
            elif stage.against is not None:
                findings.append(_unmeasured(stage, model))
            store.keep_only({later.against for later in stages[index + 1 :]})
    findings += source.findings()
    return SweepReport(
        model=model,
        seeds=seeds,
        pairs=tuple(pairs),
        findings=tuple(findings),
        notes=tuple(notes.values()),
        seconds=seconds,
    )


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
        raise ValueError("no stage is compared with another one: nothing would be measured")


def _run_stage(
    stage: Stage, inputs: WatchedInputs, seeds: tuple[int, ...], store: OutputStore
) -> tuple[Finding | None, str | None]:
    """Run all seeds, the first one twice. Returns what made that impossible, and a note on determinism."""
    seed: int | None = None
    note = None
    try:
        with stage.open() as run:
            for seed in seeds:
                drawn = inputs(seed)
                outputs = run(drawn)
                store.put(stage.name, seed, outputs)
                if seed == seeds[0]:
                    note = _nondeterminism(stage, outputs, run(drawn))
    except Exception as error:  # modules, inputs and stages are anybody's code: whatever they raise becomes a finding
        where = "opening it" if seed is None else f"seed {seed}"
        text = str(error) if isinstance(error, ModelCheckError) else f"{type(error).__name__}: {error}"
        return error_finding(inputs.model, f"stage {stage.name!r}", "outputs", f"an error at {where}: {text}"), None
    return None, note


def _nondeterminism(stage: Stage, first: Mapping[str, Array], second: Mapping[str, Array]) -> str | None:
    again = compare(first, second, atol=0.0, rtol=0.0)
    if not any(output.status.failed and output.status is not OutputStatus.REFERENCE_NAN for output in again.outputs):
        return None
    return f"{stage.name} is not deterministic: the same inputs twice differ by up to {again.max_abs:.3g}"


def _compare_pair(
    reference: Stage,
    candidate: Stage,
    seeds: tuple[int, ...],
    store: OutputStore,
    atol: Width,
    rtol: Width,
    model: str,
    notes: Mapping[str, str],
    inputs_differ: bool,
) -> PairReport:
    results: list[SeedResult] = []
    worst, worst_seed = None, None
    failed: list[int] = []
    for seed in seeds:
        context = f"{candidate.name} against {reference.name}, seed {seed}"
        comparison = compare(
            store.get(reference.name, seed),
            store.get(candidate.name, seed),
            atol=atol,
            rtol=rtol,
            model=model,
            context=context,
        )
        results.append(
            SeedResult(seed=seed, passed=comparison.passed, max_abs=comparison.max_abs, scaled=comparison.scaled)
        )
        failed += [] if comparison.passed else [seed]
        if worst is None or comparison.badness > worst.badness:
            worst, worst_seed = comparison, seed
    finding = worst.finding if worst else None
    if finding is not None and worst is not None:
        finding = _located(finding, worst, reference, candidate, failed, seeds)
        told = (notes[stage.name] for stage in (reference, candidate) if stage.name in notes)
        finding = dataclasses.replace(finding, where=(*finding.where, *told))
    elif inputs_differ and (unmoved := _unmoved_output(reference.name, seeds, store)):
        finding = error_finding(
            model,
            f"output {unmoved!r}",
            "values that depend on the inputs",
            f"the same values for all {len(seeds)} seeds: nothing of the computation was measured",
            next="Use inputs that reach this output, or name other outputs in output_names.",
        )
    return PairReport(
        reference=reference.name,
        candidate=candidate.name,
        step=candidate.step,
        seeds=tuple(results),
        worst=worst,
        worst_seed=worst_seed,
        finding=finding,
    )


def _unmoved_output(stage: str, seeds: tuple[int, ...], store: OutputStore) -> str | None:
    """A floating-point output that is bit for bit the same for every seed; masks and shapes may be."""
    first = store.get(stage, seeds[0])
    unmoved = [name for name, array in first.items() if array.size and not np.issubdtype(array.dtype, np.integer)]
    unmoved = [name for name in unmoved if first[name].dtype != np.bool_ and not first[name].dtype.hasobject]
    for seed in seeds[1:]:
        outputs = store.get(stage, seed)
        unmoved = [name for name in unmoved if outputs[name].tobytes() == first[name].tobytes()]
    return unmoved[0] if unmoved and len(seeds) > 1 else None


def _located(
    finding: Finding,
    worst: Comparison,
    reference: Stage,
    candidate: Stage,
    failed: list[int],
    seeds: tuple[int, ...],
) -> Finding:
    """The worst seed's finding, with how many seeds fail, the weights that are not finite, and whose step it was."""
    where = list(finding.where)
    where.append(f"{len(failed)} of {len(seeds)} seeds, first seed {failed[0]}")
    for stage in (reference, candidate):
        if worst.has_nan and stage.nonfinite is not None and (names := stage.nonfinite()):
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            where.append(f"weights of {stage.name} with NaN or infinity: {', '.join(names[:5])}{more}")
    differs = any(output.status.failed for output in worst.outputs)
    step = "" if worst.reference_nan or not differs else _NEXT.get(candidate.step, "")
    return dataclasses.replace(
        finding, where=tuple(where), next="\n".join(line for line in (finding.next, step) if line)
    )


_NEXT = {
    EXPORT: "The exporter changed the numbers, before any pass ran: try the other exporter or another opset.",
    PASSES: "A pass changed the numbers: find_guilty_pass names it.",
    RUNTIME: "onnxruntime's own graph optimizer changes the numbers of this graph: a bug of the runtime, not of the "
    "export or of a pass. Look for its issue, or leave the rewrite out with disabled_optimizers.",
}


def _unmeasured(stage: Stage, model: str) -> Finding:
    return error_finding(
        model,
        f"stage {stage.name!r}",
        f"a comparison with {stage.against!r}",
        f"none: stage {stage.against!r} did not run",
    )
