"""``expect_accuracy``: torch against the export, and the export against the optimized graph, over many seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck

Width = float | Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class ExpectAccuracy:
    """Tolerances (accuracy/tolerance.py has the formula), the number of seeds, and whether inputs are varied."""

    atol: Width
    rtol: Width
    seeds: int
    varied: bool


def parse(atol: Any = None, rtol: Any = None, seeds: Any = 20, varied: Any = True) -> ExpectAccuracy:
    """torch, exported and optimized agree on every output: |difference| <= max(atol, rtol * max|reference|), every seed

    `atol` and `rtol` are numbers, or dicts by output name; None takes the default of each output's dtype. `varied`
    lets some of the seeds run other kinds and sizes of inputs than the case draws (accuracy/variants.py).

    Raises:
        MarkerError: on a negative, infinite or NaN tolerance, fewer than one seed, or a `varied` that is no bool.
    """
    if not isinstance(varied, bool):
        raise MarkerError(f"varied={varied!r} must be True or False")
    return ExpectAccuracy(read_width("atol", atol), read_width("rtol", rtol), read_seeds(seeds), varied)


def read_seeds(seeds: Any) -> int:
    """A number of seeds.

    Raises:
        MarkerError: on anything but a whole number of at least one.
    """
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise MarkerError(f"seeds={seeds!r} must be a whole number of at least 1")
    return seeds


def read_width(label: str, width: Any) -> Width:
    """A tolerance: a number, numbers by output name, or None.

    Raises:
        MarkerError: on one that is negative, infinite or NaN.
    """
    for value in width.values() if isinstance(width, Mapping) else (width,):
        if value is not None and not _is_tolerance(value):
            raise MarkerError(f"{label}={value!r} must be a finite number of at least 0")
    return width  # type: ignore[no-any-return]


def _is_tolerance(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def check(modelcheck: ModelCheck, expectation: ExpectAccuracy) -> GateResult:
    """Run every seed through every stage."""
    report = modelcheck.accuracy(
        atol=expectation.atol, rtol=expectation.rtol, seeds=expectation.seeds, varied=expectation.varied
    )
    pairs = [f"{pair.reference} -> {pair.candidate} {pair.scaled_max:.1e}" for pair in report.pairs]
    findings = tuple(
        dataclasses.replace(finding, context=", ".join(part for part in (finding.context, modelcheck.context) if part))
        for finding in report.findings
    )
    varied = f", {len(report.variants)} of them varied" if report.variants else ""
    measured = f"{', '.join(pairs)} over {len(report.seeds)} seeds{varied}" if pairs else ""
    return GateResult(gate=GATE.name, measured=measured, findings=findings)


GATE = Gate("expect_accuracy", parse, check)
