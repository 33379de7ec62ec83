"""Rows about repeated layers, written once: ``encoder.layer.[0-11].attention.self  x12``.

Folding is exact and reversible: a folded path stands for precisely the paths that were folded into it, and `unfold`
gives them back. Two paths fold together where they differ in whole numbers only and their rows are equal.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

ROOT = "(root)"
"""How the root module, whose path is empty, is written."""

NO_MODULE = "(no module)"
"""How nodes without a known module are written; their path is None."""

_NUMBER = re.compile(r"0|[1-9][0-9]*")
_ESCAPED = re.compile(r"\\([0-9a-f]+);")


@dataclass(frozen=True, slots=True)
class FoldedRow(Generic[T]):
    """Rows that are equal but for the numbers in their paths.

    Attributes:
        text: The folded path.
        paths: The paths it stands for, in natural order.
        row: What they have in common.
    """

    text: str
    paths: tuple[str | None, ...]
    row: T


def natural_key(path: str | None) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which ``layer.10`` comes after ``layer.9``; no module at all comes last."""
    if path is None:
        return ((2, 0, ""),)
    return tuple((0, int(atom), "") if _NUMBER.fullmatch(atom) else (1, 0, atom) for atom in path.split("."))


def fold_rows(rows: Iterable[tuple[str | None, T]]) -> tuple[FoldedRow[T], ...]:
    """Fold (path, row) pairs; each path must occur once. Ordered by the first path of each folded row.

    Raises:
        ValueError: if a path occurs twice.
    """
    seen: set[str | None] = set()
    groups: dict[tuple[tuple[str | None, ...] | None, T], list[tuple[int, ...]]] = {}
    for path, row in rows:
        if path in seen:
            raise ValueError(f"path {path!r} has two rows")
        seen.add(path)
        skeleton, numbers = _take_numbers(path)
        groups.setdefault((skeleton, row), []).append(numbers)
    folded = [
        FoldedRow(_text(skeleton, ranges), _paths(skeleton, ranges), row)
        for (skeleton, row), indices in groups.items()
        for ranges in _boxes(indices)
    ]
    return tuple(sorted(folded, key=lambda item: natural_key(item.paths[0])))


def unfold(text: str) -> tuple[str | None, ...]:
    """The paths that a folded path stands for, in natural order.

    Raises:
        ValueError: if `text` is not a folded path.
    """
    if text == NO_MODULE:
        return (None,)
    if text == ROOT:
        return ("",)
    choices = [_choices(atom) for atom in text.split(".")]
    return tuple(".".join(atoms) for atoms in product(*choices))


def escape(text: str, special: str = "") -> str:
    """`text` without whitespace, unprintable characters, backslashes and `special`: each becomes ``\\<hex>;``."""
    return "".join(
        f"\\{ord(char):x};" if char in special or char == "\\" or char.isspace() or not char.isprintable() else char
        for char in text
    )


def unescape(text: str) -> str:
    """What `escape` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def _take_numbers(path: str | None) -> tuple[tuple[str | None, ...] | None, tuple[int, ...]]:
    """The path's atoms with None for each number, and the numbers."""
    if path is None:
        return None, ()
    atoms = path.split(".")
    numbers = tuple(int(atom) for atom in atoms if _NUMBER.fullmatch(atom))
    return tuple(None if _NUMBER.fullmatch(atom) else atom for atom in atoms), numbers


def _boxes(indices: Sequence[tuple[int, ...]]) -> list[tuple[tuple[int, ...], ...]]:
    """A set of index tuples as disjoint products of index sets, folding from the last position to the first."""
    if not indices or not indices[0]:
        return [()] if indices else []
    last: dict[tuple[int, ...], list[int]] = {}
    for index in indices:
        last.setdefault(index[:-1], []).append(index[-1])
    heads: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for head, numbers in last.items():
        heads.setdefault(tuple(sorted(numbers)), []).append(head)
    return [(*box, numbers) for numbers, group in heads.items() for box in _boxes(group)]


def _text(skeleton: tuple[str | None, ...] | None, ranges: tuple[tuple[int, ...], ...]) -> str:
    if skeleton is None:
        return NO_MODULE
    if skeleton == ("",):
        return ROOT
    numbers = iter(ranges)
    return ".".join(range_text(next(numbers)) if atom is None else escape(atom, "[]()") for atom in skeleton)


def _paths(skeleton: tuple[str | None, ...] | None, ranges: tuple[tuple[int, ...], ...]) -> tuple[str | None, ...]:
    if skeleton is None:
        return (None,)
    paths = []
    for numbers in product(*ranges):
        left = iter(numbers)
        paths.append(".".join(str(next(left)) if atom is None else atom for atom in skeleton))
    return tuple(paths)


def range_text(numbers: tuple[int, ...]) -> str:
    """``(3,)`` -> ``"3"``, ``(0, 1, 2, 5)`` -> ``"[0-2,5]"``."""
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return f"[{','.join(str(low) if low == high else f'{low}-{high}' for low, high in runs)}]"


def _choices(atom: str) -> list[str]:
    if not atom.startswith("["):
        return [unescape(atom)]
    if not re.fullmatch(r"\[\d+(-\d+)?(,\d+(-\d+)?)*\]", atom):
        raise ValueError(f"{atom!r} is not a folded index; write [0-11] or [0,2,5-7]")
    numbers: list[str] = []
    for run in atom[1:-1].split(","):
        low, _, high = run.partition("-")
        numbers += [str(number) for number in range(int(low), int(high or low) + 1)]
    return numbers
