"""Under which recorded names today's weights are to be drawn, where names differ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher

from pytest_modelcheck.numbers.results import Numbers
from pytest_modelcheck.numbers.text import parse, rows


def recorded_names(before: Numbers, now: Numbers) -> Iterator[dict[str, str]]:
    """Today's name -> recorded name, of weights that were renamed or are no longer tied; nothing where none can be.

    Names that both sides have keep their weights. The others are matched by shape: in the order of calls, then by how
    alike the names are (a library that computes query, key and value in another order and renames them to ``q_proj``,
    ``k_proj`` and ``v_proj``). Each is a guess, which counts only where the function then turns out to be the same.
    """
    by_call = _by_order_of_calls(before, now)
    if by_call:
        yield by_call
        alike = _by_likeness(before, now, by_call)
        if alike != by_call:
            yield alike


def _by_order_of_calls(before: Numbers, now: Numbers) -> dict[str, str]:
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


def _by_likeness(before: Numbers, now: Numbers, matched: dict[str, str]) -> dict[str, str]:
    """The same weights matched with the same recorded ones, the most alike first, within layers of one number."""
    old, new = before.weights, parse(rows(now)).weights
    fixed = {name: other for name, other in matched.items() if other in before.tied.values()}
    free = [name for name in matched if name not in fixed]
    pairs = sorted(
        ((_likeness(name, other), name, other) for name in free for other in {matched[key] for key in free}),
        reverse=True,
    )
    names = dict(fixed)
    for _, name, other in pairs:
        if name not in names and other not in names.values() and new[name] == old[other]:
            names[name] = other
    return names


def _likeness(name: str, other: str) -> tuple[bool, float]:
    same_layer = re.findall(r"\d+", name) == re.findall(r"\d+", other)
    return same_layer, SequenceMatcher(None, name, other, autojunk=False).ratio()
