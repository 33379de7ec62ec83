"""The tree of modules with the nodes that each holds, before and after a pipeline; repeated layers are one line.

```
(root) BertModel                          862 -> 336
  embeddings (BertEmbeddings)              12 -> 8
  encoder (BertEncoder)                   840 -> 320
    layer.[0-11] (BertLayer) x12           70 -> 26 each
```
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_modelcheck.hierarchy import ModuleTable
from pytest_modelcheck.hierarchy.folded_rows import NO_MODULE, ROOT, escape, natural_key, range_text

DEPTH = 3
"""Levels below the root that a summary shows."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A module with everything inside it.

    Attributes:
        name: Its own part of the path; of folded layers ``"[0-11]"``.
        class_name: ``""`` for a container that never runs, as nn.ModuleList.
        before, after: Nodes of the module and all inside; of folded layers, of each.
        inner: What it holds, in natural order.
        count: How many equal modules the branch represents.
    """

    name: str
    class_name: str
    before: int
    after: int
    inner: tuple[Branch, ...]
    count: int = 1


@dataclass(slots=True)
class _Growing:
    """A branch while the rows are read."""

    class_name: str = ""
    before: int = 0
    after: int = 0
    inner: dict[str, _Growing] = field(default_factory=dict)


def module_tree(before: ModuleTable, after: ModuleTable) -> Branch:
    """The tree of the modules of both tables, repeated layers folded; its root is the root module.

    Args:
        before, after: The same model at two stages; the same table twice for one.
    """
    root = _Growing()
    for table, stage in ((before, "before"), (after, "after")):
        for row in table.rows:
            nodes = sum(count for _, count in row.ops)
            place = root
            for atom in [] if row.path in ("", None) else str(row.path).split("."):
                place = place.inner.setdefault(atom, _Growing())
            if row.path is None:
                place = root.inner.setdefault(NO_MODULE, _Growing())
            place.class_name = row.class_name or place.class_name
            setattr(place, stage, nodes)
    return _folded(ROOT, root)


def _folded(name: str, grown: _Growing) -> Branch:
    atoms = sorted(grown.inner, key=lambda atom: natural_key(None if atom == NO_MODULE else atom))
    inner = [_folded(atom, grown.inner[atom]) for atom in atoms]
    alike: dict[tuple[object, ...], list[Branch]] = {}
    for branch in inner:
        numbered = branch.name.isdecimal()
        same = (branch.class_name, branch.before, branch.after, branch.inner) if numbered else (branch.name,)
        alike.setdefault((numbered, *same), []).append(branch)
    merged = tuple(_merge(branches) for branches in alike.values())
    return Branch(
        name,
        grown.class_name,
        grown.before + sum(branch.before * branch.count for branch in merged),
        grown.after + sum(branch.after * branch.count for branch in merged),
        merged,
    )


def _merge(branches: list[Branch]) -> Branch:
    first = branches[0]
    if len(branches) == 1:
        return first
    numbers = tuple(sorted(int(branch.name) for branch in branches))
    return Branch(range_text(numbers), first.class_name, first.before, first.after, first.inner, len(branches))


def tree_lines(before: ModuleTable, after: ModuleTable | None = None, *, depth: int | None = DEPTH) -> list[str]:
    """The tree as lines; columns aligned.

    Args:
        before: The table of the exported graph.
        after: Of the optimized one; None shows one count per module.
        depth: Levels below the root; None for all.
    """
    rows = list(_rows(module_tree(before, after or before), 0, depth))
    width = max(len(label) for label, _ in rows)
    first = max(len(str(branch.before)) for _, branch in rows)
    lines = []
    for label, branch in rows:
        nodes = f"{branch.before:>{first}}" + (f" -> {branch.after}" if after is not None else "")
        lines.append(f"{label:<{width}}  {nodes}{' each' if branch.count > 1 else ''}")
    return lines


def _rows(branch: Branch, level: int, depth: int | None, prefix: str = "") -> Iterator[tuple[str, Branch]]:
    """(indented label, branch), from the branch inwards; a container that only holds others is part of their names."""
    name = f"{prefix}{branch.name if level == 0 or branch.name == NO_MODULE else _shown(branch)}"
    own = branch.before - sum(inner.before * inner.count for inner in branch.inner)
    later = branch.after - sum(inner.after * inner.count for inner in branch.inner)
    if level and branch.inner and not branch.class_name and not own and not later and branch.count == 1:
        for inner in branch.inner:
            yield from _rows(inner, level, depth, f"{name}.")
        return
    class_name = f" ({escape(branch.class_name, '()')})" if branch.class_name else ""
    count = f" x{branch.count}" if branch.count > 1 else ""
    yield f"{'  ' * level}{name}{class_name}{count}", branch
    if depth is None or level < depth:
        for inner in branch.inner:
            yield from _rows(inner, level + 1, depth)


def _shown(branch: Branch) -> str:
    return branch.name if branch.count > 1 else escape(branch.name, "[]()")
