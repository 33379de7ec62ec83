"""Under which recorded names today's weights are to be drawn, where names differ."""

from __future__ import annotations

from collections import defaultdict

from pytest_modelcheck.numbers.results import Numbers
from pytest_modelcheck.numbers.text import parse, rows


def recorded_names(before: Numbers, now: Numbers) -> dict[str, str]:
    """Today's name -> recorded name, of weights that were renamed or are no longer tied; empty where none can be.

    Names that both sides have keep their weights. The others are matched by shape, in the order of calls: a guess,
    which counts only where the function then turns out to be the same.
    """
    old, new = before.weights, parse(rows(now)).weights
    names = {alias: first for alias, first in before.tied.items() if alias in new and first in old}
    left: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, shape in old.items():
        if new.get(name) != shape:
            left[shape].append(name)
    for name, shape in new.items():
        if old.get(name) != shape and name not in names and left[shape]:
            names[name] = left[shape].pop(0)
    return names
