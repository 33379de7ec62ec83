"""How memory grows with a size: a + b*n + c*n^2, fitted exactly, so that "this is quadratic" has no residual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pytest_modelcheck.errors import ModelCheckError


class GrowthError(ModelCheckError, ValueError):
    """Measurements from which no growth can be told."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes as a polynomial of a size n.

    Attributes:
        constant, linear, quadratic: The coefficients of 1, n and n^2, exact.
        residual: Largest difference in bytes between the polynomial and a measurement; 0 where it holds exactly.
        exponent: Slope of log(bytes) over log(n) between the two largest sizes; 2.0 for a purely quadratic use.
    """

    constant: Fraction
    linear: Fraction
    quadratic: Fraction
    residual: int
    exponent: float

    def at(self, size: int) -> Fraction:
        """The bytes that the polynomial predicts."""
        return self.constant + self.linear * size + self.quadratic * size * size

    def __str__(self) -> str:
        terms = [f"{float(self.constant):.10g}"] if self.constant else []
        terms += [f"{float(self.linear):.10g}*n"] if self.linear else []
        terms += [f"{float(self.quadratic):.10g}*n^2"] if self.quadratic else []
        exact = "exactly" if self.residual == 0 else f"up to {self.residual} bytes"
        return f"{' + '.join(terms) or '0'} bytes, {exact}"


def fit_growth(sizes: Sequence[int], measured: Sequence[int]) -> Growth:
    """The parabola through the first three measurements; the others are held against it.

    Args:
        sizes: Distinct positive sizes, at least three.
        measured: Bytes at each of them.

    Raises:
        GrowthError: for fewer than three sizes, equal or non-positive ones, or a measurement of no bytes.
    """
    points = sorted(zip(sizes, measured, strict=True))
    if len(points) < 3 or len({size for size, _ in points}) < len(points) or points[0][0] <= 0:
        raise GrowthError(f"a growth needs at least three different positive sizes, got {list(sizes)}")
    if any(used <= 0 for _, used in points):
        raise GrowthError(f"a growth needs measurements above 0 bytes, got {list(measured)}")
    (x1, y1), (x2, y2), (x3, y3) = ((Fraction(x), Fraction(y)) for x, y in points[:3])
    slope_12, slope_23 = (y2 - y1) / (x2 - x1), (y3 - y2) / (x3 - x2)
    quadratic = (slope_23 - slope_12) / (x3 - x1)
    linear = slope_12 - quadratic * (x1 + x2)
    constant = y1 - linear * x1 - quadratic * x1 * x1
    (x_low, y_low), (x_high, y_high) = points[-2:]
    fitted = Growth(constant, linear, quadratic, 0, math.log(y_high / y_low) / math.log(x_high / x_low))
    residual = max(abs(fitted.at(size) - used) for size, used in points)
    return Growth(constant, linear, quadratic, math.ceil(residual), fitted.exponent)
