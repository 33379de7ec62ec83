"""One output, compared: what it came to, and how that reads in a finding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from pytest_modelcheck.accuracy.metrics import UNMEASURED, Metrics
from pytest_modelcheck.accuracy.tolerance import Tolerance
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
    UNFAILABLE = "nothing can fail"

    @property
    def failed(self) -> bool:
        """Whether the two sides differ, or the reference is useless."""
        return self not in (
            OutputStatus.EQUAL_ENOUGH,
            OutputStatus.CONSTANT,
            OutputStatus.NO_ELEMENTS,
            OutputStatus.UNFAILABLE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputComparison:
    """One output, compared.

    Attributes:
        name: Output name.
        status: See `OutputStatus`.
        dtype, shape: Of the reference (of the candidate for an extra output).
        detail: What is wrong, in one clause; empty where nothing is.
        magnitude: What the worst element was held against (`accuracy.magnitude`): mostly max|reference|.
        tolerance: What was applied; None for exact types and where nothing could be compared.
        metrics: The differences; all NaN where nothing could be compared.
        top1: Share of rows (last axis) whose largest element is at the same index; NaN where that means nothing.
        metric: What was asked of it in place of a tolerance; empty for the tolerance.
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
    metric: str = ""

    @property
    def passed(self) -> bool:
        return not self.status.failed

    @property
    def max_abs(self) -> float:
        """Largest absolute difference; NaN where it could not be measured."""
        return 0.0 if self.status is OutputStatus.NO_ELEMENTS else self.metrics.max_abs

    @property
    def scaled(self) -> float:
        """``max_abs / max(1, magnitude)``; NaN where it could not be measured."""
        return 0.0 if self.status is OutputStatus.NO_ELEMENTS else self.max_abs / max(1.0, self.magnitude)


def badness(output: OutputComparison) -> tuple[int, float]:
    """What to sort by: failed above empty above within tolerance, then by scaled difference."""
    rank = 2 if output.status.failed else 1 if output.status is not OutputStatus.EQUAL_ENOUGH else 0
    return rank, math.inf if math.isnan(output.scaled) else output.scaled


def finding_of(outputs: tuple[OutputComparison, ...], model: str, context: str) -> Finding | None:
    """The finding about the worst output, the others in its `where`; None where all is well."""
    measured = any(output.status is OutputStatus.EQUAL_ENOUGH for output in outputs)
    bad = [output for output in outputs if output.status.failed]
    # Constant floats are suspicious in any company; a constant mask or index is not, beside something measured.
    bad += [
        output
        for output in outputs
        if output.status is OutputStatus.CONSTANT and (output.tolerance is not None or output.metric)
    ]
    bad += [output for output in outputs if output.status is OutputStatus.UNFAILABLE]
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
    worst = max(bad, key=badness)
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
    if output.metric:
        return f"{described} with {output.metric}"
    if output.tolerance is not None:
        return f"{described} with {output.tolerance.describe(output.magnitude)}"
    return described if math.isnan(output.metrics.max_abs) else f"{described}, equal"


def _found(output: OutputComparison) -> str:
    if output.status is OutputStatus.OVER_TOLERANCE and not output.metric and not math.isnan(output.max_abs):
        metrics = output.metrics
        return (
            f"max |difference| {output.max_abs:.4g} (scaled {output.scaled:.3g}, "
            f"cosine {metrics.cosine:.8f}, SNR {metrics.snr_db:.1f} dB)"
        )
    return f"{output.status}: {output.detail}"


_NEXT = {
    OutputStatus.REFERENCE_NAN: "The reference itself is broken: look for NaN or infinite weights, then for the first "
    "operation that makes a NaN (0/0, log of a negative number, softmax over a fully masked row). Where NaN is meant, "
    "expect_accuracy(equal_nan=True) takes it for agreement at equal places.",
    OutputStatus.CONSTANT: "Nothing was compared. Give zero-initialised weights a value (jitter them under a seed) or "
    "name other outputs in output_names.",
    OutputStatus.UNFAILABLE: "Give this output a smaller tolerance (atol and rtol take dicts by output name), leave "
    "atol out (its default fits itself to each output), or name other outputs in output_names.",
    OutputStatus.NO_ELEMENTS: "Nothing was compared. Use inputs that give outputs with elements.",
    OutputStatus.MISSING: "An output was dropped or renamed; consumers read outputs by name.",
    OutputStatus.EXTRA: "An output was added or renamed; name the outputs in output_names if it is meant.",
    OutputStatus.REORDERED: "Consumers that read outputs by position get the wrong one.",
}
