"""When two floating-point numbers count as equal: one formula, and its default widths per dtype.

    |candidate - reference| <= max(atol, rtol * magnitude)        for every element of an output

The magnitude is the largest finite ``|reference|`` of that output, made robust (`accuracy.magnitude`): masked and
outlying elements are held against themselves and widen nothing for the others. With ``atol = rtol = t`` the limit is
``t * max(1, magnitude)``: rounding errors of a sum grow with its largest terms, so an element near zero in an output
of magnitude 600 cannot be held to ``t`` itself. Written as `not (difference <= limit)`, so that NaN never passes.

A tolerance has to be able to fail: it sees a change of ``max(1e-3, 10 rtol)`` times the output's largest unmasked
magnitude. The default atol shrinks to that; an atol for all outputs that is wider is an error. One that names the
output (``atol={"boxes": 0.5}``) is an error only if all zeros would pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pytest_modelcheck.errors import OptionError

Array = np.ndarray[Any, np.dtype[Any]]

VISIBLE = 1e-3
"""A tolerance that cannot see a change of a thousandth of an output's magnitude is blind."""

Chosen = Literal["default", "for all", "by name"]

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
    """The two widths of the formula above, as plain numbers, and who chose atol: nobody, one for all, or by name."""

    atol: float
    rtol: float
    chosen: Chosen = "for all"

    def limit(self, magnitude: float) -> float:
        """The largest allowed difference of an element that is held against `magnitude`."""
        return max(self.atol, self.rtol * magnitude)

    def limits(self, magnitude: float | Array) -> float | Array:
        """`limit`, for one magnitude or one per element."""
        return self.limit(magnitude) if isinstance(magnitude, float) else np.maximum(self.atol, self.rtol * magnitude)

    def fitted(self, largest: float) -> Tolerance:
        """This tolerance for an output of that largest unmasked magnitude: a default atol sees `VISIBLE` changes.

        Of an output that is no larger than the default itself nothing can be measured; that is said, not hidden.
        """
        if self.chosen != "default" or largest <= self.atol:
            return self
        return replace(self, atol=min(self.atol, self._visible * largest))

    def blind(self, largest: float) -> str:
        """Why this tolerance could hardly fail for an output of that largest unmasked magnitude; empty if it could."""
        limit = self.limit(largest)
        if largest <= limit and limit > 0:
            return (
                f"the tolerance {limit:.3g} is not below the largest finite magnitude {largest:.3g}: "
                "all zeros would pass"
            )
        if self.chosen == "for all" and self.atol > self._visible * largest:
            share = f"a change of {100 * self._visible:g} %"
            return f"atol {self.atol:g} hides {share} of this output, whose largest magnitude is {largest:.3g}"
        return ""

    @property
    def _visible(self) -> float:
        return max(VISIBLE, 10 * self.rtol)

    def describe(self, magnitude: float) -> str:
        """The formula with its numbers, as every failure prints it."""
        return (
            f"|difference| <= max(atol {self.atol:g}, rtol {self.rtol:g} x magnitude {magnitude:.4g})"
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
    equal_nan: bool = False
    """Whether NaN at equal places is agreement, for outputs that are NaN by design."""
    metric: Mapping[str, str] = field(default_factory=dict)
    """Output name -> what is asked of it in place of the tolerance (`accuracy.output_metrics`)."""
    valid: str = ""
    """Name of an input whose zeros (padding) leave positions of the outputs out."""
    quantized: bool = False
    """Whether the graph rounds activations to integers: the default is then ``int8-quantized``, of the magnitude."""
    kept: Array | None = None
    """Which positions `valid` keeps, for one set of inputs: see `at`."""

    def of(self, output: str, dtype: np.dtype[Any]) -> Tolerance:
        """The tolerance of one output: what was asked for, else the default of its dtype.

        Raises:
            OptionError: for a negative, infinite or NaN width: it could never fail, or never pass.
        """
        default = TOLERANCES["int8-quantized" if self.quantized else _named(dtype)]
        asked = self.atol.get(output) if isinstance(self.atol, Mapping) else self.atol
        chosen: Chosen = "default" if asked is None else "by name" if isinstance(self.atol, Mapping) else "for all"
        # a step of a quantizer is a share of the range of its tensor, however small that is
        atol = _width(output, self.atol, 0.0 if self.quantized else default, "atol")
        return Tolerance(atol, _width(output, self.rtol, default, "rtol"), chosen)

    @property
    def inside(self) -> Tolerances:
        """For values inside a graph, about which a tolerance by output name says nothing."""
        atol, rtol = (width if isinstance(width, int | float) else None for width in (self.atol, self.rtol))
        return replace(self, atol=atol, rtol=rtol, metric={}, valid="", kept=None)

    def at(self, inputs: Mapping[str, Array]) -> Tolerances:
        """For one set of inputs: with the positions that `valid` keeps.

        Raises:
            OptionError: if there is no such input.
        """
        if not self.valid:
            return self
        if self.valid not in inputs:
            raise OptionError(f"valid={self.valid!r} is no input; there is {', '.join(map(repr, inputs))}")
        return replace(self, kept=np.asarray(inputs[self.valid]) != 0)

    def masked(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs with zeros at the positions that are left out.

        The positions are the first axes where those are the mask's; of a cache (batch, heads, length, size) they are
        the first and the third.
        """
        made = {name: np.asarray(array) for name, array in outputs.items()}
        kept = self.kept
        if kept is None:
            return made
        shapes = {name: _position_shape(array.shape, kept.shape) for name, array in made.items()}
        if not any(shapes.values()):
            listed = ", ".join(f"{name!r} {list(array.shape)}" for name, array in made.items())
            raise OptionError(
                f"valid={self.valid!r} has shape {list(kept.shape)}, with which no output begins: {listed}"
            )
        for name, shape in shapes.items():
            if shape:
                made[name] = np.where(kept.reshape(shape), made[name], np.zeros((), made[name].dtype))
        return made


def _position_shape(array: tuple[int, ...], mask: tuple[int, ...]) -> tuple[int, ...]:
    """The mask's shape as it broadcasts over an array; () where the array does not have its positions."""
    if array[: len(mask)] == mask:
        return (*mask, *(1 for _ in array[len(mask) :]))
    if len(array) == 4 and (array[0], array[2]) == mask:
        return (array[0], 1, array[2], 1)
    return ()


def _named(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.name in TOLERANCES else "float32"


DEFAULTS = Tolerances()
"""Every output by the default of its dtype."""

EXACT = Tolerances(0.0, 0.0)


def _width(output: str, asked: Width, default: float, label: str) -> float:
    width = asked.get(output) if isinstance(asked, Mapping) else asked
    width = default if width is None else float(width)
    if not 0.0 <= width < float("inf"):
        raise OptionError(f"{label} of output {output!r} must be a finite number >= 0, got {width}")
    return width
