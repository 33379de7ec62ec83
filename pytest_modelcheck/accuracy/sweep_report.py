"""What a sweep found: per pair of stages, per seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from pytest_modelcheck.accuracy.comparison import Comparison, largest
from pytest_modelcheck.result import Finding, error_finding

accuracy_error = partial(error_finding, "expect_accuracy")
"""A finding of verdict `error`: something was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedResult:
    """One seed of one pair. `max_abs` and `scaled` as in `Comparison`: NaN where something could not be measured.

    `variant` is the label of the inputs' variant, empty for inputs as the case draws them.
    """

    seed: int
    passed: bool
    max_abs: float
    scaled: float
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReport:
    """A candidate against its reference over all seeds.

    Attributes:
        reference, candidate: Stage names.
        step: What was done between the two.
        seeds: One result per seed, in the order they ran; empty where a stage failed.
        worst: The full comparison of the worst seed: the first one that failed with the worst kind of failure.
        worst_seed: Its seed; None where nothing ran.
        worst_variant: The label of its inputs' variant; empty for inputs as the case draws them.
        finding: What is wrong; None if every seed passed.
    """

    reference: str
    candidate: str
    step: str
    seeds: tuple[SeedResult, ...]
    worst: Comparison | None
    worst_seed: int | None
    worst_variant: str = ""
    finding: Finding | None

    @property
    def passed(self) -> bool:
        return self.finding is None

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of any seed; NaN if one could not be measured."""
        return largest(tuple(result.max_abs for result in self.seeds))

    @property
    def scaled_max(self) -> float:
        """Largest scaled difference of any seed; NaN if one could not be measured."""
        return largest(tuple(result.scaled for result in self.seeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """All pairs of a sweep.

    Attributes:
        model: Name of the model case.
        seeds: The seeds that were compared.
        variants: Those of them whose inputs were another kind or size -> its label.
        pairs: One report per stage that has a reference, in stage order.
        findings: What is wrong, in stage order; empty if everything agrees.
        notes: What a reader should know and no verdict depends on, such as a stage that is not deterministic.
        seconds: Stage name -> wall time of making it runnable and running all seeds.
    """

    model: str
    seeds: tuple[int, ...]
    variants: Mapping[int, str]
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
