"""Signal and noise of one tensor over several runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pytest_modelcheck.accuracy.magnitude import wide
from pytest_modelcheck.accuracy.metrics import Array


@dataclass(slots=True)
class Noise:
    """Energy of a tensor and of what was added to it, summed over all that was seen.

    Elements at which the float graph itself is not finite (masked scores) are left out; a quantized value that is not
    finite elsewhere makes the noise infinite.

    Attributes:
        signal: Sum of the squares of the float values.
        noise: Sum of the squares of the differences.
    """

    signal: float = 0.0
    noise: float = 0.0

    def see(self, reference: Array, found: Array) -> None:
        """Add a pair of equally shaped arrays."""
        values, others = wide(reference), wide(found)
        finite = np.isfinite(values)
        values, others = values[finite], others[finite]
        self.signal += float(np.vdot(values, values))
        with np.errstate(invalid="ignore", over="ignore"):
            difference = others - values
            noise = float(np.vdot(difference, difference))
        self.noise += math.inf if math.isnan(noise) else noise

    @property
    def decibels(self) -> float:
        """Signal to noise ratio, ``10 log10(signal / noise)``; inf without noise, NaN where there was no signal."""
        if not self.signal:
            return math.nan
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if math.isfinite(self.noise) else -math.inf
