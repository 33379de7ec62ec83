"""Under which recorded names today's weights are to be drawn, where names differ."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, permutations

from pytest_modelcheck.numbers.locating import number_at
from pytest_modelcheck.numbers.results import TOLERANCE, ModuleNumbers, Numbers
from pytest_modelcheck.numbers.text import parse, rows

Names = dict[str, str]
"""Today's name -> recorded name."""

_Shape = tuple[int, ...]
_Shapes = tuple[_Shape, ...]
_Match = dict[str, str]
"""Today's stack -> recorded stack: the modules of ``layers.#.q_proj`` are those of ``encoder.layer.#.query``."""

_NUMBER = re.compile(r"\d+")
_MADE = 720
"""Matches of a group that are ranked: all of six modules."""

_TRIED = 8
"""Matches of a group of modules that are tried: each draws all weights again and costs two forwards."""


def recorded_names(
    before: Numbers, now: Numbers, redraw: Callable[[Mapping[str, str]], Numbers]
) -> Iterator[tuple[Names, Numbers]]:
    """Names of weights that were renamed or are no longer tied, with the numbers drawn under them; none where none fit.

    Names that both sides have keep their weights. The others are matched in whole modules by the shapes of their
    weights, all layers of a stack alike, and what is left one by one in the order of calls. Modules that look alike are
    matched by likeness of their last names, equal ones always; then in the order of calls, then by other matches, and
    what gives the recorded numbers further into the forward is kept. Each is a guess, which counts only where the
    function then turns out to be the same.
    """
    new = parse(rows(now))
    olds, news = _stacks(before.modules, new.modules), _stacks(new.modules, before.modules)
    groups = [_Group(olds[key], news[key]) for key in news if len(olds.get(key, ())) >= len(news[key])]
    kept, reached = {group: next(group.matches()) for group in groups}, -1
    others = ((group, match) for group in groups for match in islice(group.matches(), 1, _TRIED))
    for change in ({}, *({group: match} for group, match in others)):
        tried = {**kept, **change}
        paths = {path: old for group, match in tried.items() for path, old in group.paths(match).items()}
        names = _names(before, new, paths)
        if not names:
            return
        again = redraw(names)
        yield names, again
        agreed = _agreed(before, again, paths)
        if agreed > reached:
            kept, reached = tried, agreed


def _agreed(before: Numbers, again: Numbers, paths: Mapping[str, str]) -> int:
    """How many of today's numbers, in the order of calls, come before the first that differs from the recorded one."""
    for count, (path, direction, index) in enumerate(again.events):
        old = number_at(before, paths.get(path, path), direction, "plain", index)
        value = number_at(again, path, direction, "plain", index)
        if old is not None and value is not None and abs(value - old) > TOLERANCE * abs(old):
            return count
    return len(again.events)


def _names(before: Numbers, new: Numbers, paths: Mapping[str, str]) -> Names:
    """The names of all weights where modules are matched as in `paths`."""
    old_weights, weights = before.weights, new.weights
    names = {alias: first for alias, first in before.tied.items() if alias in weights and first in old_weights}
    for path, old_path in paths.items():
        olds = dict(before.modules[old_path].weights)
        for name, shape in new.modules[path].weights:
            old = name if olds.get(name) == shape else next(each for each in olds if olds[each] == shape)
            del olds[old]
            names[_joined(path, name)] = _joined(old_path, old)
    left: dict[_Shape, list[str]] = defaultdict(list)
    taken = set(names.values())
    for name, shape in old_weights.items():
        if weights.get(name) != shape and name not in taken:
            left[shape].append(name)
    for name, shape in weights.items():
        if old_weights.get(name) != shape and name not in names and left[shape]:
            names[name] = left[shape].pop(0)
    return names


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Renamed stacks of modules with equal weights: stack -> its modules, recorded and of today."""

    olds: Mapping[str, Sequence[str]]
    news: Mapping[str, Sequence[str]]

    def matches(self) -> Iterator[_Match]:
        """The likeliest first, then that in the order of calls; at least one."""
        count = len(self.news)
        made = [dict(zip(self.news, olds, strict=True)) for olds in islice(permutations(self.olds, count), _MADE)]
        allowed = [match for match in made if all(self._allowed(stack, old) for stack, old in match.items())]
        ranked = sorted(allowed or made[:1], key=lambda match: -sum(map(_likeness, match, match.values())))
        yield from (ranked[0], *allowed[:1], *ranked[1:])

    def _allowed(self, stack: str, old: str) -> bool:
        """Whether the two have one last name, where any two have."""
        return _last(stack) == _last(old) or not (
            _last(stack) in map(_last, self.olds) or _last(old) in map(_last, self.news)
        )

    def paths(self, match: _Match) -> dict[str, str]:
        """Today's path -> recorded path."""
        return {path: old for stack in self.news for path, old in _pairs(self.news[stack], self.olds[match[stack]])}


def _stacks(
    modules: Mapping[str, ModuleNumbers], others: Mapping[str, ModuleNumbers]
) -> dict[tuple[_Shapes, int], dict[str, list[str]]]:
    """(shapes of the weights, how many modules) -> stack -> its paths; of modules that `others` has not."""
    stacks: dict[tuple[_Shapes, str], list[str]] = defaultdict(list)
    for path, module in modules.items():
        known = others.get(path)
        if module.weights and (known is None or known.weights != module.weights):
            shapes = tuple(sorted(shape for _, shape in module.weights))
            stacks[shapes, _NUMBER.sub("#", path)].append(path)
    found: dict[tuple[_Shapes, int], dict[str, list[str]]] = defaultdict(dict)
    for (shapes, stack), paths in stacks.items():
        found[shapes, len(paths)][stack] = paths
    return found


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _likeness(stack: str, old: str) -> float:
    return SequenceMatcher(None, _last(stack), _last(old), autojunk=False).ratio()


def _pairs(paths: Sequence[str], olds: Sequence[str]) -> Iterable[tuple[str, str]]:
    """The modules of two stacks: those of the same numbers where both have the same ones, else in order."""
    numbers, old_numbers = ({tuple(_NUMBER.findall(path)): path for path in each} for each in (paths, olds))
    if numbers.keys() == old_numbers.keys():
        return [(path, old_numbers[key]) for key, path in numbers.items()]
    return zip(paths, olds, strict=True)
