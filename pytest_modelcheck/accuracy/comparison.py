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
from dataclasses import dataclass, replace

import numpy as np

from pytest_modelcheck.accuracy.magnitude import magnitudes, wide
from pytest_modelcheck.accuracy.metrics import (
    UNMEASURED,
    Array,
    Metrics,
    count_nan,
    is_constant,
    is_float,
    measure,
    top1_agreement,
)
from pytest_modelcheck.accuracy.output import OutputComparison, OutputStatus, badness, finding_of
from pytest_modelcheck.accuracy.output_metrics import OutputMetric, read_metric
from pytest_modelcheck.accuracy.tolerance import Tolerance, Tolerances, Width
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.result import Finding


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
        return (3, math.inf) if worst is None else badness(worst)

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
        return max(self.outputs, key=badness, default=None)


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

    Example:
        ``compare({"y": np.ones(3)}, {"y": np.ones(3) + 1e-3}, atol=1e-2).passed``

    Raises:
        OptionError: for a tolerance that is negative, infinite, NaN, or for an output that does not exist.
    """
    return compare_within(reference, candidate, Tolerances(atol, rtol), model=model, context=context)


def compare_within(
    reference: Mapping[str, Array],
    candidate: Mapping[str, Array],
    tolerances: Tolerances,
    *,
    model: str = "",
    context: str = "candidate against reference",
) -> Comparison:
    """`compare`, for a caller that was given its tolerances."""
    _check_names(reference, tolerances.atol, tolerances.rtol, tolerances.metric)
    left, right = tolerances.masked(reference), tolerances.masked(candidate)
    places = [name for name in right if name in left]
    expected_places = [name for name in left if name in right]
    outputs = [
        _compare_output(name, array, right, tolerances)
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
    return Comparison(outputs=made, finding=finding_of(made, model, context))


def _check_names(reference: Mapping[str, Array], *widths: Width | Mapping[str, str]) -> None:
    for width in widths:
        for name in width if isinstance(width, Mapping) else ():
            if name not in reference:
                raise OptionError(f"tolerance for output {name!r}, which does not exist; there is {_listed(reference)}")


def _compare_output(
    name: str, reference: Array, candidates: Mapping[str, Array], tolerances: Tolerances
) -> OutputComparison:
    if name not in candidates:
        close = difflib.get_close_matches(name, candidates, n=1)
        hint = f" (renamed to {close[0]!r}?)" if close else ""
        return _described(name, reference, OutputStatus.MISSING, f"the candidate has {_listed(candidates)}{hint}")
    candidate = candidates[name]
    metric = read_metric(tolerances.metric[name]) if name in tolerances.metric else None
    if reference.shape != candidate.shape and not (metric and metric.any_shape):
        detail = f"{list(candidate.shape)} instead of {list(reference.shape)}"
        return _described(name, reference, OutputStatus.RESHAPED, detail)
    if reference.dtype != candidate.dtype:
        return _described(name, reference, OutputStatus.RETYPED, f"{candidate.dtype} instead of {reference.dtype}")
    if not reference.size and not (metric and candidate.size):
        return _described(name, reference, OutputStatus.NO_ELEMENTS, f"shape {list(reference.shape)}")
    if reference.dtype.kind in "OSUT":
        return _compare_strings(name, reference, candidate)
    if metric is not None:
        return _compare_by(metric, name, reference, candidate, tolerances)
    return _compare_numbers(name, reference, candidate, tolerances)


def _compare_by(
    metric: OutputMetric, name: str, reference: Array, candidate: Array, tolerances: Tolerances
) -> OutputComparison:
    """By what the marker asks of this output; the differences are measured beside it where the shapes are equal."""
    tolerance = tolerances.of(name, reference.dtype) if is_float(reference) else None
    same = reference.shape == candidate.shape and reference.size > 0
    metrics = measure(reference, candidate) if same else UNMEASURED
    status, detail = OutputStatus.EQUAL_ENOUGH, ""
    if nans := count_nan(reference):
        status, detail = OutputStatus.REFERENCE_NAN, f"{nans} of {reference.size} elements of the reference are NaN"
    elif is_constant(reference) and is_float(reference):
        status, detail = OutputStatus.CONSTANT, f"all {reference.size} elements are {float(reference.flat[0]):.6g}"
    elif detail := metric.failure(name, reference, candidate, tolerance):
        status = OutputStatus.OVER_TOLERANCE
    largest = float(np.abs(wide(reference)).max(initial=0.0)) if is_float(reference) else math.nan
    made = _described(name, reference, status, detail, magnitude=largest, metrics=metrics)
    return replace(made, metric=metric.text)


def _compare_strings(name: str, reference: Array, candidate: Array) -> OutputComparison:
    differing = np.argwhere(reference != candidate)
    if not len(differing):
        return _described(name, reference, OutputStatus.EQUAL_ENOUGH, "", metrics=Metrics(max_abs=0.0), magnitude=0.0)
    index = tuple(int(i) for i in differing[0])
    detail = f"{candidate[index]!r} instead of {reference[index]!r} at {list(index)}"
    return _described(name, reference, OutputStatus.OVER_TOLERANCE, detail)


def _compare_numbers(name: str, reference: Array, candidate: Array, tolerances: Tolerances) -> OutputComparison:
    if is_float(reference):
        if tolerances.equal_nan and np.array_equal(np.isnan(reference), np.isnan(candidate)):
            reference, candidate = (
                np.where(np.isnan(reference), array.dtype.type(0), array) for array in (reference, candidate)
            )
        tolerance = tolerances.of(name, reference.dtype)
        sizes = magnitudes(reference, tolerance)
        tolerance = tolerance.fitted(sizes.largest)
        metrics, blind = measure(reference, candidate, tolerance, sizes), tolerance.blind(sizes.largest)
    else:
        tolerance, blind = None, ""
        metrics = measure(reference, candidate, None, magnitudes(reference, None))
    status, detail = _judge(reference, candidate, metrics, blind)
    return _described(
        name,
        reference,
        status,
        detail,
        magnitude=metrics.magnitude,
        tolerance=tolerance,
        metrics=metrics,
        top1=top1_agreement(reference, candidate),
    )


def _judge(reference: Array, candidate: Array, metrics: Metrics, blind: str) -> tuple[OutputStatus, str]:
    if nans := count_nan(reference):
        return OutputStatus.REFERENCE_NAN, f"{nans} of {reference.size} elements of the reference are NaN"
    if nans := count_nan(candidate):
        return OutputStatus.CANDIDATE_NAN, f"{nans} of {candidate.size} elements are NaN, none of the reference"
    values = (
        f"{metrics.candidate_value:.9g} instead of {metrics.reference_value:.9g} at {list(metrics.worst_index or ())}"
    )
    if math.isinf(metrics.max_abs):
        return OutputStatus.INFINITE, values
    if metrics.over_share:
        unit = "" if is_float(reference) else " (exact type)"
        over = f"{100 * metrics.over_share:.3g} % of {reference.size} elements are over"
        return OutputStatus.OVER_TOLERANCE, f"{values}, {over}{unit}"
    if is_constant(reference):
        return OutputStatus.CONSTANT, f"all {reference.size} elements are {metrics.reference_value:.6g}"
    if blind:
        return OutputStatus.UNFAILABLE, blind
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
