"""Arguments that several gates read alike: tolerances, and numbers of seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pytest_modelcheck.gates.gate import MarkerError

Width = float | Mapping[str, float] | None
"""A tolerance: a number, numbers by output name, or the default of each output."""


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
    return width  # type: ignore[no-any-return]  # a marker's argument, looked at above


def _is_tolerance(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
