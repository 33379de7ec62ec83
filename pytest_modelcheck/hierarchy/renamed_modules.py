"""Renamed modules: ``layers.[0-1].attention -> self_attn`` instead of ten rows gone and ten new.

A module counts as renamed if it is missing where a new one appeared below the same parent (or one level further in or
out: a wrapper came or went), its class is the same, and so are most of the modules below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_modelcheck.hierarchy.folded_rows import escape, fold_rows, natural_key
from pytest_modelcheck.hierarchy.table import ModuleRow, ModuleTable

_SHARED = 0.5
"""Share of the modules below a renamed one that must have kept their names."""

_Subtree = dict[str, ModuleRow]


@dataclass(frozen=True, slots=True)
class Renames:
    """Old path -> new path of each renamed module, outermost modules only."""

    paths: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.paths)

    def now(self, path: str | None) -> str | None:
        """Today's path of a module."""
        if path is None:
            return None
        prefix = path
        while prefix:
            if prefix in self.paths:
                return self.paths[prefix] + path[len(prefix) :]
            prefix = prefix.rpartition(".")[0]
        return path

    @property
    def lines(self) -> tuple[str, ...]:
        """``"layers.[0-1].attention -> self_attn"``, the last name alone where the parent is the same."""
        rows = [
            (old, new.rpartition(".")[2] if old.rpartition(".")[0] == new.rpartition(".")[0] else new)
            for old, new in self.paths.items()
        ]
        return tuple(f"{folded.text} -> {escape(folded.row, '[]()')}" for folded in fold_rows(rows))


def renames(before: ModuleTable, after: ModuleTable) -> Renames:
    """The renamed modules between two tables."""
    was, now = _prefixes(before), _prefixes(after)
    gone = sorted((path for path in was - now if _parent(path) in now), key=natural_key)
    new = sorted((path for path in now - was if _parent(path) in was), key=natural_key)
    found: dict[str, str] = {}
    for exactly in (True, False):
        for old_path, new_path in _candidates(gone, new):
            if old_path in found or new_path in found.values():
                continue
            old, other = _below(before, old_path), _below(after, new_path)
            if old and (_equal(old, other) if exactly else _alike(old, other)):
                found[old_path] = new_path
    return Renames(found)


def _candidates(gone: list[str], new: list[str]) -> Iterator[tuple[str, str]]:
    for old in gone:
        for other in new:
            if _parent(old) == _parent(other):
                yield old, other
                yield old, f"{other}.{_last(old)}"
                yield f"{old}.{_last(other)}", other


def _equal(old: _Subtree, new: _Subtree) -> bool:
    return old.keys() == new.keys() and all(
        (row.class_name, row.ops) == (new[path].class_name, new[path].ops) for path, row in old.items()
    )


def _alike(old: _Subtree, new: _Subtree) -> bool:
    if "" in old and ("" not in new or old[""].class_name != new[""].class_name):
        return False
    shared = old.keys() & new.keys()
    return len(shared) >= _SHARED * len(old.keys() | new.keys())


def _below(table: ModuleTable, path: str) -> _Subtree:
    """Path below `path` -> row, `path` itself first."""
    rows = {}
    for row in table.rows:
        if row.path is not None and (row.path == path or row.path.startswith(f"{path}.")):
            rows[row.path[len(path) :]] = row
    return rows


def _prefixes(table: ModuleTable) -> set[str]:
    found = {""}
    for row in table.rows:
        path = row.path or ""
        while path not in found:
            found.add(path)
            path = _parent(path)
    return found


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _last(path: str) -> str:
    return path.rpartition(".")[2]
