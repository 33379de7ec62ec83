"""The little language of expectations: ``'>=5%'``, ``'72'``, ``'60..80'``, ``'12/12'``.

| text       | meaning                                                             |
|------------|---------------------------------------------------------------------|
| `72`       | exactly 72                                                          |
| `>=5%`     | at least 5 percent (of what, the marker's documentation says)       |
| `>0`, `<4` | strictly above, strictly below                                      |
| `60..80`   | from 60 to 80, both included                                        |
| `12/12`    | exactly 12 of exactly 12: the denominator is checked, too           |

A bound never holds for NaN, and a percentage is never compared with a plain number. Whoever reads a bound says what its
figure can be, so that one that always holds (a count ``>=0``) or never (``>101%`` of a whole) is refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pytest_modelcheck.errors import BoundError

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_COMPARISON = re.compile(rf"(?P<op>>=|<=|==|>|<)?\s*(?P<number>{_NUMBER})\s*(?P<percent>%)?")
_RANGE = re.compile(rf"(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})\s*(?P<percent>%)?")
_FRACTION = re.compile(r"(?P<part>\d+)\s*/\s*(?P<whole>\d+)")
_HELP = "write a number (72), a comparison ('>=5%', '<4'), a range ('60..80') or a fraction ('12/12')"


@dataclass(frozen=True, slots=True)
class Bound:
    """An interval, with a unit (`percent` or none) and, for a fraction, the expected denominator.

    Attributes:
        text: The expectation as its author wrote it; what a finding prints.
        low, high: The ends of the interval; infinite where it is open to that side.
        low_open, high_open: Whether that end itself is excluded.
        percent: The ends are percentages (5 means 5 %).
        whole: The denominator of a fraction, else None.
    """

    text: str
    low: float
    high: float
    low_open: bool = False
    high_open: bool = False
    percent: bool = False
    whole: int | None = None

    def holds(self, value: float) -> bool:
        """Whether `value` (in percent where the bound is) lies inside; False for NaN."""
        if math.isnan(value):
            return False
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Domain:
    """What a figure can be, ends included.

    Attributes:
        low, high: As a plain number.
        percent_low, percent_high: As a percentage.
    """

    low: float = -math.inf
    high: float = math.inf
    percent_low: float = -math.inf
    percent_high: float = math.inf


ANY = Domain()
COUNT = Domain(low=0)
SHARE = Domain(low=0, percent_low=0, percent_high=100)
"""A count, or how much it is of a whole."""

REMOVED = Domain(percent_high=100)
"""What is taken away from a whole; what is added to it is negative."""

CHANGE = Domain(percent_low=-100)
"""Of something that cannot become less than nothing."""


def parse_bound(value: object, domain: Domain = ANY) -> Bound:
    """Read an expectation of a figure that lies in `domain`.

    Args:
        value: An int, a float or a string in the language above. ``True`` and ``False`` are refused: they are
            numbers to Python, and never what the author of a bound meant.

    Raises:
        BoundError: if it cannot be read, is NaN, is an empty range, or holds for all of `domain` or nothing in it.
    """
    bound = _read(value)
    low, high = (domain.percent_low, domain.percent_high) if bound.percent else (domain.low, domain.high)
    all_above = bound.low < low or (bound.low == low and not bound.low_open)
    all_below = bound.high > high or (bound.high == high and not bound.high_open)
    if all_above and all_below and domain is not ANY:
        raise BoundError(f"bound {bound.text!r} always holds: {_range(low, high, bound)}; write one that can fail")
    above = bound.low > high or (bound.low == high and bound.low_open)
    below = bound.high < low or (bound.high == low and bound.high_open)
    if above or below:
        raise BoundError(f"bound {bound.text!r} never holds: {_range(low, high, bound)}")
    if bound.whole is not None and bound.low > bound.whole:
        raise BoundError(f"bound {bound.text!r} never holds: the part is larger than the whole")
    return bound


def _range(low: float, high: float, bound: Bound) -> str:
    unit = "%" if bound.percent else ""
    ends = [f"at least {low:g}{unit}"] * math.isfinite(low) + [f"at most {high:g}{unit}"] * math.isfinite(high)
    return f"what is measured is {' and '.join(ends)}"


def _read(value: object) -> Bound:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BoundError(f"bound {value!r} is a {type(value).__name__}; {_HELP}")
    text = value.strip() if isinstance(value, str) else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise BoundError(f"bound {text} can never be compared; {_HELP}")
    if match := _FRACTION.fullmatch(text):
        part = float(match["part"])
        return Bound(text, part, part, whole=int(match["whole"]))
    if match := _RANGE.fullmatch(text):
        low, high = float(match["low"]), float(match["high"])
        if low > high:
            raise BoundError(f"bound {text!r} is empty: {match['low']} is above {match['high']}; {_HELP}")
        return Bound(text, low, high, percent=match["percent"] is not None)
    if match := _COMPARISON.fullmatch(text):
        return _comparison(text, match["op"] or "==", float(match["number"]), match["percent"] is not None)
    raise BoundError(f"bound {text!r} cannot be read; {_HELP}")


def _comparison(text: str, op: str, number: float, percent: bool) -> Bound:
    if op in (">=", ">"):
        return Bound(text, number, math.inf, low_open=op == ">", percent=percent)
    if op in ("<=", "<"):
        return Bound(text, -math.inf, number, high_open=op == "<", percent=percent)
    return Bound(text, number, number, percent=percent)
