"""Latency intervals as lines on one scale: what the HTML report draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WIDTH, _EDGE = 320, 8


@dataclass(frozen=True, slots=True)
class Intervals:
    """The intervals of all models on one scale.

    Attributes:
        low, high: The ratios at both ends of the scale.
        rows: One per model: its name, exporter and text; in pixels `ratio`, `low`, `high`, `one` (where x1 is), and
            `noise`: where the interval of two equal graphs begins, and how wide it is.
    """

    low: float
    high: float
    rows: tuple[dict[str, Any], ...]


def drawn(models: Sequence[dict[str, Any]]) -> Intervals | None:
    """The intervals of the models that were timed; None where none was.

    Example:
        A model of x1.04 [1.03, 1.05] alone is drawn on a scale from x0.99 to x1.06.
    """
    timed = [model for model in models if _ends(model)]
    if not timed:
        return None
    every = [end for model in timed for end in _ends(model)] + [1.0]
    margin = max(0.01, 0.05 * (max(every) - min(every)))
    low, high = round(min(every) - margin, 2), round(max(every) + margin, 2)
    step = (_WIDTH - 2 * _EDGE) / (high - low)

    def place(ratio: float) -> float:
        return round(_EDGE + (ratio - low) * step, 1)

    rows = []
    for model in timed:
        figures = model["latency"]
        begin, end, ratio, *noise = _ends(model)
        rows.append(
            {
                "name": model["name"],
                "exporter": model["exporter"],
                "text": figures["text"],
                "ratio": place(ratio),
                "low": place(begin),
                "high": place(end),
                "one": place(1.0),
                "noise": (place(noise[0]), round(place(noise[1]) - place(noise[0]), 1)) if noise else None,
            }
        )
    return Intervals(low, high, tuple(rows))


def _ends(model: dict[str, Any]) -> list[float]:
    """Both ends of the interval, the estimate, and both ends of the noise where it was measured; empty without them."""
    figures = model.get("latency") or {}
    ends = [*figures.get("interval", ()), figures.get("ratio")]
    if len(ends) != 3 or not all(isinstance(end, float | int) for end in ends):  # NaN and infinity are text
        return []
    noise = figures.get("noise") or ()
    return [*ends, *(noise if len(noise) == 2 and all(isinstance(end, float | int) for end in noise) else ())]
