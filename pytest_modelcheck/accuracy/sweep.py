"""Many seeds through every stage of a model, and what each stage differs from its reference by.

Stages run one after the other, all seeds each, and are closed again: at no time do more than the module and one session
hold weights, and a session is made once, not per seed. Outputs wait on disk where they are large.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_modelcheck.accuracy.comparison import Comparison, OutputStatus, compare, largest
from pytest_modelcheck.accuracy.metrics import Array, percentile
from pytest_modelcheck.accuracy.outputs import OutputStore
from pytest_modelcheck.accuracy.stages import EXPORT, PASSES, RUNTIME, Inputs, Stage, flat_arrays
from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.result import Finding, Verdict

SEEDS = range(20)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """One seed of one pair. `max_abs` and `scaled` as in `Comparison`: NaN where something could not be measured."""

    seed: int
    passed: bool
    max_abs: float
    scaled: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """A candidate against its reference over all seeds.

    Attributes:
        reference, candidate: Stage names.
        step: What was done between the two.
        seeds: One result per seed, in the order they ran; empty where a stage failed.
        worst: The full comparison of the worst seed: the first one that failed with the worst kind of failure.
        worst_seed: Its seed; None where nothing ran.
        finding: What is wrong; None if every seed passed.
    """

    reference: str
    candidate: str
    step: str
    seeds: tuple[SeedResult, ...]
    worst: Comparison | None
    worst_seed: int | None
    finding: Finding | None

    @property
    def passed(self) -> bool:
        return self.finding is None

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of any seed; NaN if one could not be measured."""
        return largest(tuple(result.max_abs for result in self.seeds))

    @property
    def scaled_min(self) -> float:
        return _over(self.seeds, min)

    @property
    def scaled_mean(self) -> float:
        return _over(self.seeds, lambda values: math.fsum(values) / len(values))

    @property
    def scaled_p99(self) -> float:
        return _over(self.seeds, lambda values: percentile(np.asarray(values)))

    @property
    def scaled_max(self) -> float:
        return _over(self.seeds, max)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """All pairs of a sweep.

    Attributes:
        model: Name of the model case.
        seeds: The seeds that ran.
        pairs: One report per stage that has a reference, in stage order.
        findings: What is wrong, in stage order; empty if everything agrees.
        notes: What a reader should know and no verdict depends on, such as a stage that is not deterministic.
        seconds: Stage name -> wall time of making it runnable and running all seeds.
    """

    model: str
    seeds: tuple[int, ...]
    pairs: tuple[PairReport, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def passed(self) -> bool:
        return not self.findings

    def pair(self, candidate: str) -> PairReport:
        """The report of the stage named `candidate`. Raises KeyError where it has no reference or did not run."""
        for pair in self.pairs:
            if pair.candidate == candidate:
                return pair
        raise KeyError(f"no pair {candidate!r}; there is {', '.join(repr(pair.candidate) for pair in self.pairs)}")


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
    source = _Inputs(inputs, model)
    pairs: list[PairReport] = []
    findings: list[Finding] = []
    notes: list[str] = []
    seconds: dict[str, float] = {}
    ran: dict[str, Stage] = {}
    with OutputStore() as store:
        for index, stage in enumerate(stages):
            started = time.perf_counter()
            finding, note = _run_stage(stage, source, seeds, store)
            seconds[stage.name] = time.perf_counter() - started
            notes += [note] if note else []
            if finding:
                findings.append(finding)
                continue
            ran[stage.name] = stage
            if stage.against in ran:
                pair = _compare_pair(ran[stage.against], stage, seeds, store, atol, rtol, model)
                pairs.append(pair)
                findings += [pair.finding] if pair.finding else []
            elif stage.against is not None:
                findings.append(_unmeasured(stage, model))
            store.keep_only({later.against for later in stages[index + 1 :]})
    findings += source.findings()
    return SweepReport(
        model=model,
        seeds=seeds,
        pairs=tuple(pairs),
        findings=tuple(findings),
        notes=tuple(notes),
        seconds=seconds,
    )


def _check(stages: Sequence[Stage], seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise ValueError("a sweep needs at least one seed")
    before: set[str] = set()
    for stage in stages:
        if stage.name in before:
            raise ValueError(f"stage {stage.name!r} is there twice")
        if stage.against is not None and stage.against not in before:
            raise ValueError(f"stage {stage.name!r} is compared with {stage.against!r}, which does not come before it")
        before.add(stage.name)
    if all(stage.against is None for stage in stages):
        raise ValueError("no stage is compared with another one: nothing would be measured")


class _Inputs:
    """The inputs function, watched: equal seeds must give equal inputs, and different seeds different ones."""

    def __init__(self, draw: Callable[[int], Inputs], model: str) -> None:
        self.model = model
        self._draw = draw
        self._digests: dict[int, bytes] = {}
        self._changed: list[int] = []

    def __call__(self, seed: int) -> Inputs:
        drawn = self._draw(seed)
        digest = input_digest(drawn)
        if self._digests.setdefault(seed, digest) != digest and seed not in self._changed:
            self._changed.append(seed)
        return drawn

    def findings(self) -> list[Finding]:
        found = []
        if self._changed:
            found.append(
                _error(
                    self.model,
                    "inputs",
                    "the same values each time it is called with the same seed",
                    f"other values for seed {self._changed[0]} on a second call",
                    next="Draw from a generator made from the seed. The stages were fed different inputs.",
                )
            )
        if len(self._digests) > 1 and len(set(self._digests.values())) == 1:
            found.append(
                _error(
                    self.model,
                    "inputs",
                    f"different values for {len(self._digests)} seeds",
                    "the same values for every seed: only one input was measured",
                    next="Use the seed: inputs(seed) is called with 0, 1, 2, ...",
                )
            )
        return found


def input_digest(inputs: Inputs) -> bytes:
    """A hash over names, dtypes, shapes and bytes of the inputs."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in flat_arrays(inputs).items():
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _run_stage(
    stage: Stage, inputs: _Inputs, seeds: tuple[int, ...], store: OutputStore
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
        return _error(inputs.model, f"stage {stage.name!r}", "outputs", f"an error at {where}: {text}"), None
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
    return PairReport(
        reference=reference.name,
        candidate=candidate.name,
        step=candidate.step,
        seeds=tuple(results),
        worst=worst,
        worst_seed=worst_seed,
        finding=finding,
    )


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
    step = "" if worst.reference_nan else _NEXT.get(candidate.step, "")
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
    return _error(
        model,
        f"stage {stage.name!r}",
        f"a comparison with {stage.against!r}",
        f"none: stage {stage.against!r} did not run",
    )


def _error(model: str, subject: str, expected: str, found: str, *, next: str = "") -> Finding:
    return Finding(
        gate="expect_accuracy",
        model=model,
        subject=subject,
        expected=expected,
        found=found,
        next=next,
        verdict=Verdict.ERROR,
    )


def _over(seeds: tuple[SeedResult, ...], statistic: Callable[[list[float]], float]) -> float:
    """A statistic of the scaled differences; NaN where there is none, or one of them is NaN."""
    values = [result.scaled for result in seeds]
    return statistic(values) if values and not any(math.isnan(value) for value in values) else math.nan
