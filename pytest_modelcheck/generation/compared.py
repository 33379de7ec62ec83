"""Greedy tokens held against each other, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_modelcheck.generation.wiring import Array

NEAR = 2.0
"""Two tokens are a near tie where their logits are at most this many tolerances apart: each may move by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A row whose token differs at a step.

    Attributes:
        step: From 0.
        row: Of the batch.
        expected, found: The tokens.
        margin: By how much the reference prefers its own token.
        near: Whether that is a near tie.
    """

    step: int
    row: int
    expected: int
    found: int
    margin: float
    near: bool

    def __str__(self) -> str:
        return f"row {self.row}, step {self.step}: token {self.expected} became {self.found}, margin {self.margin:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationReport:
    """What two decoders gave for the same tokens.

    Attributes:
        steps, rows: How much was compared.
        differing: Tokens that differ, near ties among them.
        scaled: The largest difference of a logit, over max(1, largest magnitude of that step).
        over: The first step at which a logit differs by more than the tolerance; None for none.
        tokens: How many different tokens the reference chose.
        seconds: That the candidate took for each step.
    """

    steps: int
    rows: int
    differing: tuple[Step, ...]
    scaled: float
    over: int | None
    tokens: int
    seconds: tuple[float, ...] = ()

    @property
    def wrong(self) -> tuple[Step, ...]:
        """Tokens that differ by more than a near tie."""
        return tuple(step for step in self.differing if not step.near)

    @property
    def near_ties(self) -> tuple[Step, ...]:
        return tuple(step for step in self.differing if step.near)

    @property
    def passed(self) -> bool:
        return not self.wrong and self.over is None


def compare_generation(
    reference: Sequence[Array], candidate: Sequence[Array], tolerance: float, seconds: Sequence[float] = ()
) -> GenerationReport:
    """Compare the logits (batch, vocabulary) of each step, of two runs that saw the same tokens.

    Args:
        reference, candidate: One array per step.
        tolerance: Of a logit, times max(1, largest magnitude of its step).
        seconds: That the candidate took for each step.
    """
    differing: list[Step] = []
    scaled, over = 0.0, None
    for index, (left, right) in enumerate(zip(reference, candidate, strict=True)):
        wide = left.astype(np.float64), right.astype(np.float64)
        finite = np.isfinite(wide[0])
        magnitude = max(1.0, float(np.abs(wide[0][finite]).max(initial=0.0)))
        difference = (
            np.abs(np.where(finite | (wide[0] != wide[1]), wide[1] - wide[0], 0.0)).max(initial=0.0) / magnitude
        )
        scaled = float(np.maximum(scaled, difference))
        if over is None and not difference <= tolerance:
            over = index
        expected, found = wide[0].argmax(-1), wide[1].argmax(-1)
        for row in np.flatnonzero(expected != found):
            margin = float(wide[0][row, expected[row]] - wide[0][row, found[row]])
            near = margin <= NEAR * tolerance * magnitude
            step = Step(
                step=index, row=int(row), expected=int(expected[row]), found=int(found[row]), margin=margin, near=near
            )
            differing.append(step)
    chosen = {int(token) for array in reference for token in array.argmax(-1)}
    return GenerationReport(
        steps=len(reference),
        rows=len(reference[0]) if len(reference) else 0,
        differing=tuple(differing),
        scaled=scaled,
        over=over,
        tokens=len(chosen),
        seconds=tuple(seconds),
    )
