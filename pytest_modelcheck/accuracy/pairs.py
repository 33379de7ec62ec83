"""One stage against its reference, over all seeds that both have run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from pytest_modelcheck.accuracy.comparison import Comparison, compare_within
from pytest_modelcheck.accuracy.output import OutputStatus
from pytest_modelcheck.accuracy.stage_run import Planned, Ran
from pytest_modelcheck.accuracy.stages import CONVERSION, EXPORT, PASSES, RUNTIME, SHIPPED, Stage
from pytest_modelcheck.accuracy.store import OutputStore
from pytest_modelcheck.accuracy.sweep_report import PairReport, SeedResult, accuracy_error
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.result import Finding, Verdict, listed


def compare_pair(
    reference: Ran,
    candidate: Ran,
    store: OutputStore,
    tolerances: Callable[[Planned], Tolerances],
    model: str,
    notes: Mapping[str, str],
    inputs_differ: bool,
) -> PairReport:
    """Compare every seed, and put the worst one into words.

    Args:
        reference, candidate: Two stages that ran.
        store: Holds their outputs.
        tolerances: How closely the outputs must agree for one set of inputs.
        model: Named in findings.
        notes: Stage name -> what a reader should know about it.
        inputs_differ: Whether different inputs were drawn, so that outputs may be asked to differ as well.
    """
    results: list[SeedResult] = []
    worst, worst_entry, worst_rank = None, None, None
    failed: list[Planned] = []
    both = [entry for entry in candidate.planned if entry.seed not in reference.refused]
    compared = {
        entry.seed: _compared(reference.stage, candidate.stage, entry, store, tolerances(entry), model)
        for entry in both
        if entry.seed not in candidate.refused
    }
    measured = _measured_outputs(compared.values())
    for entry in both:
        if entry.seed in candidate.refused:
            results.append(
                SeedResult(seed=entry.seed, passed=False, max_abs=np.nan, scaled=np.nan, variant=entry.label)
            )
            failed.append(entry)
            continue
        comparison = _excused(compared[entry.seed], measured)
        results.append(
            SeedResult(
                seed=entry.seed,
                passed=comparison.passed,
                max_abs=comparison.max_abs,
                scaled=comparison.scaled,
                variant=entry.label,
            )
        )
        failed += [] if comparison.passed else [entry]
        rank = _rank(comparison, entry)
        if worst_rank is None or rank > worst_rank:
            worst, worst_entry, worst_rank = comparison, entry, rank
    refused = {entry.label: candidate.refused[entry.seed] for entry in both if entry.seed in candidate.refused}
    finding = worst.finding if worst else None
    if finding is not None and worst is not None:
        finding = _located(finding, worst, reference.stage, candidate.stage, failed, both)
        told = (notes[ran.stage.name] for ran in (reference, candidate) if ran.stage.name in notes)
        finding = dataclasses.replace(finding, where=(*finding.where, *_refusals(refused), *told))
    elif refused:
        finding = _cannot_run(reference.stage, candidate.stage, refused, model)
    elif inputs_differ and (unmoved := _unmoved_output(reference.stage.name, both, store)):
        finding = accuracy_error(
            model,
            f"output {unmoved!r}",
            "values that depend on the inputs",
            f"the same values for all {len(both)} seeds: nothing of the computation was measured",
            next="Use inputs that reach this output, or name other outputs in output_names.",
        )
    return PairReport(
        reference=reference.stage.name,
        candidate=candidate.stage.name,
        step=candidate.stage.step,
        seeds=tuple(results),
        worst=worst,
        worst_seed=None if worst_entry is None else worst_entry.seed,
        worst_variant="" if worst_entry is None else worst_entry.label,
        finding=finding,
    )


def _measured_outputs(comparisons: Iterable[Comparison]) -> frozenset[str]:
    """The outputs that some seed measured."""
    return frozenset(
        output.name
        for comparison in comparisons
        for output in comparison.outputs
        if output.status is OutputStatus.EQUAL_ENOUGH
    )


def _excused(comparison: Comparison, measured: frozenset[str]) -> Comparison:
    """A seed that agrees and of which some outputs measure nothing, such as no detection in it, where others do."""
    if any(output.status.failed or output.name not in measured for output in comparison.outputs):
        return comparison
    return dataclasses.replace(comparison, finding=None)


def _rank(comparison: Comparison, entry: Planned) -> tuple[int, bool, float]:
    """What the worst seed is chosen by: of two that fail alike, the one that the case draws."""
    kind, difference = comparison.badness
    return kind, entry.variant is None, difference


def _compared(
    reference: Stage,
    candidate: Stage,
    entry: Planned,
    store: OutputStore,
    tolerances: Tolerances,
    model: str,
) -> Comparison:
    label = f" ({entry.label})" if entry.label else ""
    comparison = compare_within(
        store.get(reference.name, entry.seed),
        store.get(candidate.name, entry.seed),
        tolerances,
        model=model,
        context=f"{candidate.name} against {reference.name}, seed {entry.seed}{label}",
    )
    if entry.variant is not None and not any(output.status.failed for output in comparison.outputs):
        return dataclasses.replace(comparison, finding=None)  # zeros may well make an output constant
    return comparison


def _unmoved_output(stage: str, entries: Sequence[Planned], store: OutputStore) -> str | None:
    """A floating-point output that is bit for bit the same for every seed; masks and shapes may be."""
    first = store.get(stage, entries[0].seed)
    unmoved = [name for name, array in first.items() if array.size and not np.issubdtype(array.dtype, np.integer)]
    unmoved = [name for name in unmoved if first[name].dtype != np.bool_ and not first[name].dtype.hasobject]
    for entry in entries[1:]:
        outputs = store.get(stage, entry.seed)
        unmoved = [name for name in unmoved if outputs[name].tobytes() == first[name].tobytes()]
    return unmoved[0] if unmoved and len(entries) > 1 else None


def _located(
    finding: Finding,
    worst: Comparison,
    reference: Stage,
    candidate: Stage,
    failed: Sequence[Planned],
    entries: Sequence[Planned],
) -> Finding:
    """The worst seed's finding, with how many seeds fail, the weights that are not finite, and whose step it was."""
    where = list(finding.where)
    differs = any(output.status.failed for output in worst.outputs)
    counted = [entry for entry in entries if differs or entry.variant is None]  # as `_compared` judges them
    where.append(f"{len(failed)} of {len(counted)} seeds, first seed {failed[0].seed}")
    if all(entry.label for entry in failed):
        where.append(f"only for inputs that the case does not draw: {'; '.join(entry.label for entry in failed)}")
    for stage in (reference, candidate):
        if worst.has_nan and stage.nonfinite is not None and (names := stage.nonfinite()):
            where.append(f"weights of {stage.name} with NaN or infinity: {listed(names, 5)}")
    step = "" if worst.reference_nan or not differs else _NEXT.get(candidate.step, "")
    if all(entry.variant is not None and entry.variant.sizes for entry in failed):
        step = BAKED
    return dataclasses.replace(
        finding, where=tuple(where), next="\n".join(line for line in (finding.next, step) if line)
    )


def _refusals(refused: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"cannot run at all with {label}: {why}" for label, why in refused.items())


def _cannot_run(reference: Stage, candidate: Stage, refused: Mapping[str, str], model: str) -> Finding:
    return Finding(
        gate="expect_accuracy",
        model=model,
        subject="inputs",
        expected=f"outputs for {'; '.join(refused)}, as {reference.name} gives them",
        found="an error",
        context=f"{candidate.name} against {reference.name}",
        where=_refusals(refused),
        next=BAKED,
        verdict=Verdict.FAIL,
    )


BAKED = (
    "A size of the example inputs is baked into the graph. Declare only axes that are dynamic, or take the size from "
    "the tensor where it is used."
)

_NEXT = {
    EXPORT: "The exporter changed the numbers, before any pass ran: try the other exporter or another opset.",
    SHIPPED: "The file does not compute what the module does: export it again, or build its own module.",
    PASSES: "A pass changed the numbers (find_guilty_pass names it): repair it, or take it out of the pipeline.",
    RUNTIME: "onnxruntime's own graph optimizer changes the numbers of this graph: a bug of the runtime, not of the "
    "export or of a pass. Look for its issue, or leave the rewrite out with disabled_optimizers.",
    CONVERSION: "The runtime's numbers are not the model's: its conversion, a kernel, or the graph that it was given.",
}
