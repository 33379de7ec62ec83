"""When two floating-point numbers count as equal: one formula, and its default widths per dtype.

    |candidate - reference| <= max(atol, rtol * max|reference|)        for every element of an output

`max|reference|` is taken over the finite elements of that output. With ``atol = rtol = t`` this is ``t * max(1,
max|reference|)``: rounding errors of a sum grow with its largest terms, so an element near zero in an output of
magnitude 600 cannot be held to ``t`` itself. Written as `not (difference <= limit)`, so that NaN never passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_modelcheck.errors import OptionError

Width = float | Mapping[str, float] | None
"""A tolerance for all outputs, one per output name, or None for the default of the output's dtype."""

TOLERANCES: dict[str, float] = {
    "float64": 1e-10,
    "float32": 1e-5,
    "float16": 5e-3,
    "bfloat16": 4e-2,
    "int8-quantized": 1e-1,
}
"""Default of both atol and rtol per dtype: about 5 units in the last place for the half types (2^-10, 2^-7), whose
intermediate results are rounded at every node; ``int8-quantized`` is for float outputs of a quantized model."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The two widths of the formula above, as plain numbers."""

    atol: float
    rtol: float

    def limit(self, magnitude: float) -> float:
        """The largest allowed difference in an output whose largest finite magnitude is `magnitude`."""
        return max(self.atol, self.rtol * magnitude)

    def describe(self, magnitude: float) -> str:
        """The formula with its numbers, as every failure prints it."""
        return (
            f"|difference| <= max(atol {self.atol:g}, rtol {self.rtol:g} x max|reference| {magnitude:.4g})"
            f" = {self.limit(magnitude):.3g}"
        )


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How closely outputs must agree: what was asked for, for all outputs or by output name.

    Example:
        ``Tolerances(1e-4, {"logits": 1e-3}).of("logits", np.dtype("float32"))`` is ``Tolerance(1e-4, 1e-3)``.
    """

    atol: Width = None
    rtol: Width = None

    def of(self, output: str, dtype: np.dtype[Any]) -> Tolerance:
        """The tolerance of one output: what was asked for, else the default of its dtype.

        Raises:
            OptionError: for a negative, infinite or NaN width: it could never fail, or never pass.
        """
        default = TOLERANCES.get(dtype.name, TOLERANCES["float32"])
        return Tolerance(_width(output, self.atol, default, "atol"), _width(output, self.rtol, default, "rtol"))

    @property
    def inside(self) -> Tolerances:
        """For values inside a graph, about which a tolerance by output name says nothing."""
        atol, rtol = (width if isinstance(width, int | float) else None for width in (self.atol, self.rtol))
        return Tolerances(atol, rtol)


DEFAULTS = Tolerances()
"""Every output by the default of its dtype."""

EXACT = Tolerances(0.0, 0.0)


def _width(output: str, asked: Width, default: float, label: str) -> float:
    width = asked.get(output) if isinstance(asked, Mapping) else asked
    width = default if width is None else float(width)
    if not 0.0 <= width < float("inf"):
        raise OptionError(f"{label} of output {output!r} must be a finite number >= 0, got {width}")
    return width
