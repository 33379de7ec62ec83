"""Whether two captures of one model, or a capture and its module, compute the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pytest_modelcheck.calling import seeded
from pytest_modelcheck.capture.captured import Captured
from pytest_modelcheck.model_case import EXAMPLE_SEED

TOLERANCE = 1e-5
"""Bar for a difference relative to max(1, max abs), for outputs of 32 bits and more."""

ROUNDINGS = 10
"""The bar for outputs of fewer bits, in units of the last place: attention kernels keep float32 inside, and attention
written out rounds after every operation."""


@dataclass(frozen=True, slots=True)
class RunComparison:
    """How far two captures are apart.

    Attributes:
        difference: max |difference| / max(1, max |reference|) over all outputs; infinite where an output is missing,
            has another shape or dtype, or a NaN or infinity of its own; None where there are no values to compare.
        tolerance: What may be: `TOLERANCE`, or `ROUNDINGS` units of the last place of the coarsest output.
    """

    difference: float | None
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the two compute the same."""
        return self.difference is not None and self.difference <= self.tolerance


def compare_runs(reference: Captured, candidate: Captured) -> RunComparison:
    """Run both with the example inputs, and compare their outputs; one graph runs once."""
    expected = _run(reference)
    return compare_outputs(expected, expected if candidate.graph_module is reference.graph_module else _run(candidate))


def _run(captured: Captured) -> tuple[torch.Tensor, ...]:
    with seeded(EXAMPLE_SEED):
        return captured.run()


def compare_outputs(expected: Sequence[torch.Tensor], found: Sequence[torch.Tensor]) -> RunComparison:
    """Compare two runs, output by output."""
    floats = [tensor.dtype for tensor in expected if tensor.dtype.is_floating_point]
    tolerance = max([TOLERANCE, *(ROUNDINGS * torch.finfo(d).eps for d in floats if torch.finfo(d).bits < 32)])
    if any(tensor.is_meta for tensor in (*expected, *found)):
        return RunComparison(None, tolerance)
    if len(expected) != len(found):
        return RunComparison(math.inf, tolerance)
    differences = [_difference(a, b) for a, b in zip(expected, found, strict=True)]
    return RunComparison(max(differences, default=0.0), tolerance)


def _difference(expected: torch.Tensor, found: torch.Tensor) -> float:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return math.inf
    if not expected.numel():
        return 0.0
    wide = torch.complex128 if expected.is_complex() else torch.float64
    a, b = expected.to(wide), found.to(wide)
    same = (a == b) | (a.isnan() & b.isnan())  # an infinity equals itself, and so shall a NaN in the same place
    distance = float(torch.where(same, 0.0, (a - b).abs()).max())
    finite = a.abs()[a.isfinite()]
    scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
    return math.inf if math.isnan(distance) else distance / scale
