"""Running one stage on every seed, and what became of the variants among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.inner_values import in_tolerances
from pytest_modelcheck.accuracy.metrics import Array, is_float
from pytest_modelcheck.accuracy.output import OutputStatus
from pytest_modelcheck.accuracy.stages import Inputs, Run, Stage, within
from pytest_modelcheck.accuracy.store import OutputStore
from pytest_modelcheck.accuracy.sweep_report import accuracy_error
from pytest_modelcheck.accuracy.tolerance import EXACT, Tolerances
from pytest_modelcheck.accuracy.variants import Variant, rounded
from pytest_modelcheck.accuracy.watched_inputs import WatchedInputs
from pytest_modelcheck.accuracy.way_out import way_out
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.result import Finding

UNSTABLE = 0.1
"""A variant is left out if rounding its inputs once moves the reference by this share of the tolerance."""

UNSTABLE_SIZE = 1.0
"""The same for another size of drawn values: those are not what makes it unstable, but ties and thresholds are."""

ROUNDINGS = 3
"""How many roundings, up or down at random, are tried."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One set of inputs: a seed, as the case draws it or as a variant of that."""

    seed: int
    variant: Variant | None = None

    @property
    def label(self) -> str:
        return "" if self.variant is None else self.variant.label

    def inputs(self, drawn: Inputs) -> Inputs:
        return drawn if self.variant is None else self.variant.apply(drawn, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One stage after all its seeds.

    Attributes:
        stage: The stage.
        planned: What it ran; for the first reference with the seeds of variants that were left out as drawn.
        finding: Why it did not run at all; None if it did.
        note: What a reader should know about it: that it is not deterministic.
        random: Whether that is beyond the tolerance, so that nothing can be compared with it; `finding` says so.
        refused: Variants it could not run although its reference could: seed -> why.
        left_out: Why variants were left out; of the first reference only.
    """

    stage: Stage
    planned: tuple[Planned, ...]
    finding: Finding | None = None
    note: str | None = None
    random: bool = False
    refused: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def plan(seeds: Sequence[int], variants: Sequence[Variant]) -> tuple[Planned, ...]:
    """Which seed runs which variant: every other seed from the last, or further seeds where these are too few."""
    if len(seeds) >= 2 * len(variants):
        taken = {seeds[len(seeds) - 1 - 2 * index]: variant for index, variant in enumerate(variants)}
        return tuple(Planned(seed, taken.get(seed)) for seed in seeds)
    further = (Planned(max(seeds) + 1 + index, variant) for index, variant in enumerate(variants))
    return (*(Planned(seed) for seed in seeds), *further)


def run_stage(
    stage: Stage,
    source: WatchedInputs,
    planned: tuple[Planned, ...],
    store: OutputStore,
    tolerances: Tolerances,
) -> Ran:
    """Run all seeds, the first one twice; the outputs go to `store`."""
    entry: Planned | None = None
    note = None
    refused: dict[int, str] = {}
    try:
        with stage.open() as run:
            for entry in planned:
                drawn = source(entry.seed)
                if entry.variant is not None:
                    why = _run_variant(stage, run, entry, drawn, store, tolerances)
                    if not why:
                        continue
                    refused[entry.seed] = why
                    if stage.against is not None:
                        continue
                outputs = run(drawn)  # as drawn, too, where the variant measures nothing: no seed is lost
                store.put(stage.name, entry.seed, outputs)
                if entry is planned[0]:
                    again = run(drawn)
                    note = _nondeterminism(stage, outputs, again)
                    if note and _is_random(outputs, again, within(tolerances, drawn)):
                        finding = _random(source.model, stage, note, drawn)
                        return Ran(stage=stage, planned=planned, finding=finding, random=True)
    except Exception as error:  # modules, inputs and stages are anybody's code: whatever they raise becomes a finding
        where = "opening it" if entry is None else f"seed {entry.seed}"
        text = str(error) if isinstance(error, ModelCheckError) else f"{type(error).__name__}: {error}"
        found = f"an error at {where}: {text}"
        finding = accuracy_error(source.model, f"stage {stage.name!r}", "outputs", found, next=way_out(error))
        return Ran(stage=stage, planned=planned, finding=finding)
    if stage.against is None:
        kept = tuple(Planned(entry.seed) if entry.seed in refused else entry for entry in planned)
        return Ran(stage=stage, planned=kept, note=note, left_out=tuple(refused.values()))
    return Ran(stage=stage, planned=planned, note=note, refused=refused)


def _run_variant(
    stage: Stage, run: Run, entry: Planned, drawn: Inputs, store: OutputStore, tolerances: Tolerances
) -> str:
    """Run one variant. Returns why it measures nothing: for the first reference that is no fault, else it is one."""
    assert entry.variant is not None
    first = stage.against is None
    try:
        inputs = entry.inputs(drawn)
        outputs = run(inputs)
        if first and not _all_finite(outputs):
            return f"inputs {entry.label!r} left out: {stage.name} gives NaN or infinities for them"
        unstable = UNSTABLE_SIZE if entry.variant.sizes else UNSTABLE
        if first and entry.variant.floats and _most_moved(outputs, run, inputs, within(tolerances, inputs)) > unstable:
            return f"inputs {entry.label!r} left out: rounding them once moves {stage.name} by {unstable:g} tolerances"
    except Exception as error:  # as above
        text = str(error) if isinstance(error, ModelCheckError) else f"{type(error).__name__}: {error}"
        return f"inputs {entry.label!r} left out: {text}" if first else text
    store.put(stage.name, entry.seed, outputs)
    return ""


def _most_moved(outputs: Mapping[str, Array], run: Run, inputs: Inputs, tolerances: Tolerances) -> float:
    """By how many tolerances a rounding of the inputs moves the reference, at most: one alone may move it little."""
    return max(_moved(outputs, run(rounded(inputs, seed)), tolerances) for seed in range(ROUNDINGS))


def _all_finite(outputs: Mapping[str, Array]) -> bool:
    return all(np.isfinite(array.astype(np.float32)).all() for array in outputs.values() if is_float(array))


def _moved(outputs: Mapping[str, Array], others: Mapping[str, Array], tolerances: Tolerances) -> float:
    """The largest difference of any output in tolerances; inf where one has another shape."""
    most, others = 0.0, tolerances.masked(others)
    for name, array in tolerances.masked(outputs).items():
        other = others.get(name)
        if other is None or other.shape != array.shape:
            return math.inf
        most = max(most, in_tolerances(array, other, tolerances, name))
    return most


def _is_random(first: Mapping[str, Array], second: Mapping[str, Array], tolerances: Tolerances) -> bool:
    """Whether two runs differ by more than two graphs may: more than the order of a sum on several threads."""
    outputs = compare_within(first, second, tolerances).outputs
    return any(output.status.failed and output.status is not OutputStatus.REFERENCE_NAN for output in outputs)


def _random(model: str, stage: Stage, note: str, inputs: Inputs) -> Finding:
    try:
        drawing = () if stage.draws is None else stage.draws(inputs)
    except Exception as error:  # what a module does under a dispatch mode is its own affair
        drawing = (f"what draws was not found: {type(error).__name__}: {error}",)
    finding = accuracy_error(
        model,
        f"stage {stage.name!r}",
        "equal outputs for equal inputs",
        f"random outputs: {note.partition(': ')[2]}",
        next="Nothing was compared, and no exporter, pass or runtime is at fault: the model itself draws random "
        "numbers. Turn off what draws in eval mode (dropout, noise), or make it an input of the model.",
    )
    return replace(finding, where=drawing)


def _nondeterminism(stage: Stage, first: Mapping[str, Array], second: Mapping[str, Array]) -> str | None:
    again = compare_within(first, second, EXACT)
    if not any(output.status.failed and output.status is not OutputStatus.REFERENCE_NAN for output in again.outputs):
        return None
    return f"{stage.name} is not deterministic: the same inputs twice differ by up to {again.max_abs:.3g}"
