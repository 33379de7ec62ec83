"""Comparing the outputs of two runs, so that the comparison can fail.

What counts as a failure, per output: it is missing, new, under another name, at another place, of another dtype or
shape; the reference itself holds a NaN (a NaN weight makes both sides equal in being useless); an infinity is not at
the same place with the same sign; an integer, bool or string differs at all; a float differs beyond the tolerance.

What counts as an error, because nothing was measured: no outputs at all, no elements at all, or a floating-point
reference whose elements (two or more) are all equal, such as the zeros of an untrained head.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pytest_modelcheck.accuracy.metrics import (
    UNMEASURED,
    Array,
    Metrics,
    count_nan,
    is_constant,
    is_float,
    magnitude,
    measure,
    top1_agreement,
)
from pytest_modelcheck.accuracy.tolerance import Tolerance, Width, tolerance_for
from pytest_modelcheck.result import Finding, Verdict


class OutputStatus(StrEnum):
    """What the comparison of one output came to; the value is the phrase a finding uses."""

    EQUAL_ENOUGH = "within tolerance"
    OVER_TOLERANCE = "over tolerance"
    INFINITE = "infinities differ"
    CANDIDATE_NAN = "NaN in the candidate"
    REFERENCE_NAN = "NaN in the reference"
    RESHAPED = "reshaped"
    RETYPED = "retyped"
    REORDERED = "reordered"
    MISSING = "missing"
    EXTRA = "extra"
    CONSTANT = "empty comparison: the reference is constant"
    NO_ELEMENTS = "no elements"

    @property
    def failed(self) -> bool:
        """Whether the two sides differ, or the reference is useless."""
        return self not in (OutputStatus.EQUAL_ENOUGH, OutputStatus.CONSTANT, OutputStatus.NO_ELEMENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """One output, compared.

    Attributes:
        name: Output name.
        status: See `OutputStatus`.
        dtype, shape: Of the reference (of the candidate for an extra output).
        detail: What is wrong, in one clause; empty where nothing is.
        magnitude: Largest finite magnitude of the reference.
        tolerance: What was applied; None for exact types and where nothing could be compared.
        metrics: The differences; all NaN where nothing could be compared.
        top1: Share of rows (last axis) whose largest element is at the same index; NaN where that means nothing.
    """

    name: str
    status: OutputStatus
    dtype: str
    shape: tuple[int, ...]
    detail: str = ""
    magnitude: float = math.nan
    tolerance: Tolerance | None = None
    metrics: Metrics = UNMEASURED
    top1: float = math.nan

    @property
    def passed(self) -> bool:
        return not self.status.failed

    @property
    def max_abs(self) -> float:
        """Largest absolute difference; NaN where it could not be measured."""
        return 0.0 if self.status is OutputStatus.NO_ELEMENTS else self.metrics.max_abs

    @property
    def scaled(self) -> float:
        """``max_abs / max(1, max|reference|)``; NaN where it could not be measured."""
        return 0.0 if self.status is OutputStatus.NO_ELEMENTS else self.max_abs / max(1.0, self.magnitude)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All outputs of two runs, compared.

    Attributes:
        passed: Whether something was measured and all of it agrees.
        outputs: Outputs of the reference in its order, then those only the candidate has.
        finding: The worst problem, others listed in its `where`; None if `passed`.
    """

    outputs: tuple[OutputComparison, ...]
    finding: Finding | None

    @property
    def passed(self) -> bool:
        return self.finding is None

    @property
    def max_abs(self) -> float:
        """Largest absolute difference of all outputs; NaN if one of them could not be measured."""
        return largest(tuple(output.max_abs for output in self.outputs))

    @property
    def scaled(self) -> float:
        """Largest scaled difference of all outputs; NaN if one of them could not be measured."""
        return largest(tuple(output.scaled for output in self.outputs))

    @property
    def badness(self) -> tuple[int, float]:
        """What to sort comparisons by: a failed one above an empty one above one that passed, then by difference."""
        worst = self.worst
        return (3, math.inf) if worst is None else _badness(worst)

    @property
    def has_nan(self) -> bool:
        """Whether an output holds a NaN on either side."""
        nans = (OutputStatus.REFERENCE_NAN, OutputStatus.CANDIDATE_NAN)
        return any(output.status in nans for output in self.outputs)

    @property
    def reference_nan(self) -> bool:
        """Whether the reference itself holds a NaN."""
        return any(output.status is OutputStatus.REFERENCE_NAN for output in self.outputs)

    @property
    def worst(self) -> OutputComparison | None:
        """The output a finding is about: a failed one before an empty one, then by scaled difference."""
        return max(self.outputs, key=_badness, default=None)


def compare(
    reference: Mapping[str, Array],
    candidate: Mapping[str, Array],
    *,
    atol: Width = None,
    rtol: Width = None,
    model: str = "",
    context: str = "candidate against reference",
) -> Comparison:
    """Compare two mappings from output name to array, whose order is the order of the outputs.

    Args:
        reference: What is right.
        candidate: What is judged.
        atol, rtol: Tolerance for floating-point outputs (formula: `accuracy.tolerance`): one for all outputs, or a
            mapping by output name; None takes the default of each output's dtype.
        model, context: Named in the finding.

    Raises:
        ValueError: for a tolerance that is negative, infinite, NaN, or for an output that does not exist.
    """
    _check_tolerance_names(reference, atol, rtol)
    left = {name: np.asarray(array) for name, array in reference.items()}
    right = {name: np.asarray(array) for name, array in candidate.items()}
    places = [name for name in right if name in left]
    expected_places = [name for name in left if name in right]
    outputs = [
        _compare_output(name, array, right, atol, rtol)
        if name not in right or places.index(name) == expected_places.index(name)
        else _described(
            name,
            array,
            OutputStatus.REORDERED,
            f"at place {list(right).index(name)} instead of {list(left).index(name)}",
        )
        for name, array in left.items()
    ]
    outputs += [
        _described(name, array, OutputStatus.EXTRA, f"the reference has {_listed(left)}")
        for name, array in right.items()
        if name not in left
    ]
    made = tuple(outputs)
    return Comparison(outputs=made, finding=_finding(made, model, context))


def _check_tolerance_names(reference: Mapping[str, Array], *widths: Width) -> None:
    for width in widths:
        for name in width if isinstance(width, Mapping) else ():
            if name not in reference:
                raise ValueError(f"tolerance for output {name!r}, which does not exist; there is {_listed(reference)}")


def _compare_output(
    name: str, reference: Array, candidates: Mapping[str, Array], atol: Width, rtol: Width
) -> OutputComparison:
    if name not in candidates:
        close = difflib.get_close_matches(name, candidates, n=1)
        hint = f" (renamed to {close[0]!r}?)" if close else ""
        return _described(name, reference, OutputStatus.MISSING, f"the candidate has {_listed(candidates)}{hint}")
    candidate = candidates[name]
    if reference.shape != candidate.shape:
        detail = f"{list(candidate.shape)} instead of {list(reference.shape)}"
        return _described(name, reference, OutputStatus.RESHAPED, detail)
    if reference.dtype != candidate.dtype:
        return _described(name, reference, OutputStatus.RETYPED, f"{candidate.dtype} instead of {reference.dtype}")
    if not reference.size:
        return _described(name, reference, OutputStatus.NO_ELEMENTS, f"shape {list(reference.shape)}")
    if reference.dtype.kind in "OSUT":
        return _compare_strings(name, reference, candidate)
    return _compare_numbers(name, reference, candidate, atol, rtol)


def _compare_strings(name: str, reference: Array, candidate: Array) -> OutputComparison:
    differing = np.argwhere(reference != candidate)
    if not len(differing):
        return _described(name, reference, OutputStatus.EQUAL_ENOUGH, "", metrics=Metrics(max_abs=0.0), magnitude=0.0)
    index = tuple(int(i) for i in differing[0])
    detail = f"{candidate[index]!r} instead of {reference[index]!r} at {list(index)}"
    return _described(name, reference, OutputStatus.OVER_TOLERANCE, detail)


def _compare_numbers(name: str, reference: Array, candidate: Array, atol: Width, rtol: Width) -> OutputComparison:
    tolerance = tolerance_for(name, reference.dtype, atol, rtol) if is_float(reference) else None
    size = magnitude(reference)
    metrics = measure(reference, candidate, tolerance.limit(size) if tolerance else 0.0)
    status, detail = _judge(reference, candidate, metrics, size, tolerance)
    return _described(
        name,
        reference,
        status,
        detail,
        magnitude=size,
        tolerance=tolerance,
        metrics=metrics,
        top1=top1_agreement(reference, candidate),
    )


def _judge(
    reference: Array, candidate: Array, metrics: Metrics, size: float, tolerance: Tolerance | None
) -> tuple[OutputStatus, str]:
    if nans := count_nan(reference):
        return OutputStatus.REFERENCE_NAN, f"{nans} of {reference.size} elements of the reference are NaN"
    if nans := count_nan(candidate):
        return OutputStatus.CANDIDATE_NAN, f"{nans} of {candidate.size} elements are NaN, none of the reference"
    values = (
        f"{metrics.candidate_value:.9g} instead of {metrics.reference_value:.9g} at {list(metrics.worst_index or ())}"
    )
    if math.isinf(metrics.max_abs):
        return OutputStatus.INFINITE, values
    if not metrics.max_abs <= (tolerance.limit(size) if tolerance else 0.0):
        unit = "" if tolerance else " (exact type)"
        over = f"{100 * metrics.over_share:.3g} % of {reference.size} elements are over"
        return OutputStatus.OVER_TOLERANCE, f"{values}, {over}{unit}"
    if is_constant(reference):
        return OutputStatus.CONSTANT, f"all {reference.size} elements are {metrics.reference_value:.6g}"
    return OutputStatus.EQUAL_ENOUGH, ""


def _described(
    name: str,
    array: Array,
    status: OutputStatus,
    detail: str,
    *,
    magnitude: float = math.nan,
    tolerance: Tolerance | None = None,
    metrics: Metrics = UNMEASURED,
    top1: float = math.nan,
) -> OutputComparison:
    return OutputComparison(
        name=name,
        status=status,
        dtype=str(array.dtype),
        shape=tuple(int(size) for size in array.shape),
        detail=detail,
        magnitude=magnitude,
        tolerance=tolerance,
        metrics=metrics,
        top1=top1,
    )


def _listed(names: Mapping[str, Array]) -> str:
    return ", ".join(repr(name) for name in names) or "no outputs"


def largest(values: tuple[float, ...]) -> float:
    """The largest value; NaN if there is none, or one of them is NaN."""
    if not values or any(math.isnan(value) for value in values):
        return math.nan
    return max(values)


def _badness(output: OutputComparison) -> tuple[int, float]:
    rank = 2 if output.status.failed else 1 if output.status is not OutputStatus.EQUAL_ENOUGH else 0
    return rank, math.inf if math.isnan(output.scaled) else output.scaled


def _finding(outputs: tuple[OutputComparison, ...], model: str, context: str) -> Finding | None:
    measured = any(output.status is OutputStatus.EQUAL_ENOUGH for output in outputs)
    bad = [output for output in outputs if output.status.failed]
    # Constant floats are suspicious in any company; a constant mask or index is not, beside something measured.
    bad += [output for output in outputs if output.status is OutputStatus.CONSTANT and output.tolerance is not None]
    if not measured and not bad:
        bad = list(outputs)
    if not outputs:
        return Finding(
            gate="expect_accuracy",
            model=model,
            subject="outputs",
            expected="at least one output",
            found="none on either side: nothing was measured",
            context=context,
            next="Give the model an output, or correct output_names.",
            verdict=Verdict.ERROR,
        )
    if not bad:
        return None
    worst = max(bad, key=_badness)
    return Finding(
        gate="expect_accuracy",
        model=model,
        subject=f"output {worst.name!r}",
        expected=_expected(worst),
        found=_found(worst),
        context=context,
        where=tuple(f"output {output.name!r}: {output.status}; {output.detail}".rstrip("; ") for output in bad),
        next=_NEXT.get(worst.status, ""),
        verdict=Verdict.FAIL if worst.status.failed else Verdict.ERROR,
    )


def _expected(output: OutputComparison) -> str:
    described = f"{output.dtype}{list(output.shape)}"
    if output.status is OutputStatus.EXTRA:
        return "no such output"
    if output.tolerance is not None:
        return f"{described} with {output.tolerance.describe(output.magnitude)}"
    return described if math.isnan(output.metrics.max_abs) else f"{described}, equal"


def _found(output: OutputComparison) -> str:
    if output.status is OutputStatus.OVER_TOLERANCE and not math.isnan(output.max_abs):
        metrics = output.metrics
        return (
            f"max |difference| {output.max_abs:.4g} (scaled {output.scaled:.3g}, "
            f"cosine {metrics.cosine:.8f}, SNR {metrics.snr_db:.1f} dB)"
        )
    return f"{output.status}: {output.detail}"


_NEXT = {
    OutputStatus.REFERENCE_NAN: "The reference itself is broken: look for NaN or infinite weights, then for the first "
    "operation that makes a NaN (0/0, log of a negative number, softmax over a fully masked row).",
    OutputStatus.CONSTANT: "Nothing was compared. Give zero-initialised weights a value (jitter them under a seed) or "
    "name other outputs in output_names.",
    OutputStatus.NO_ELEMENTS: "Nothing was compared. Use inputs that give outputs with elements.",
    OutputStatus.MISSING: "An output was dropped or renamed; consumers read outputs by name.",
    OutputStatus.EXTRA: "An output was added or renamed; name the outputs in output_names if it is meant.",
    OutputStatus.REORDERED: "Consumers that read outputs by position get the wrong one.",
}
