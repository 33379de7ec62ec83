"""What changed between two module tables, in the words of modules."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pytest_modelcheck.hierarchy.folded_rows import fold_rows
from pytest_modelcheck.hierarchy.renamed_modules import renames
from pytest_modelcheck.hierarchy.table import ModuleRow, ModuleTable
from pytest_modelcheck.hierarchy.table_text import ops_text

_ROUNDING = 1e-6
"""How much a constant may differ, relative to itself: float32 keeps seven digits."""

_SKETCHED = 2e-3
"""How much the figures of a sketch may differ: they are written with four digits, and computed tables (rotary
frequencies) differ in the last bits between machines."""

_SKETCH = re.compile(r"~([^;)!]*)")
_FORMER = re.compile(r"(\w+)=(?!-?[\d.|e+-]+$)(.*)")
"""An item of a label that the first format had, too: a text attribute."""

_NEWER = ("to=", "value=")


def diff_tables(before: ModuleTable, after: ModuleTable) -> tuple[str, ...]:
    """One line per change, repeated modules folded; empty where the tables are equal.

    ```
    encoder.layer.[0-11].attention.self: +2 Transpose each (x12)
    encoder.layer.3.attention.self: +1 Transpose
    encoder.layer.7.extra: new (Identity): -
    encoder.layer.[0-11].output.norm: LayerNormalization(epsilon 1e-12 -> 1e-05) each (x12)
    pooler: gone (was Pooler: Gather 1)
    encoder.layer.[0-11].act: GELUActivation became Tanh each (x12)
    layers.[0-1].attention -> self_attn, nothing else
    ```
    """
    moved = renames(before, after)
    if moved:
        before = ModuleTable.of(ModuleRow(moved.now(row.path), row.class_name, row.ops) for row in before.rows)
    old, new = before.by_path, after.by_path
    changes = []
    for path in dict.fromkeys([*old, *new]):
        if text := _change(old.get(path), new.get(path)):
            changes.append((path, text))
    lines = [f"{line}{'' if changes else ', nothing else'}" for line in moved.lines]
    for folded in fold_rows(changes):
        each = f" each (x{len(folded.paths)})" if len(folded.paths) > 1 else ""
        lines.append(f"{folded.text}: {folded.row}{each}")
    return tuple(lines)


def changed_modules(before: ModuleTable, after: ModuleTable) -> list[dict[str, Any]]:
    """The modules that `diff_tables` names, as plain data; repeated ones are folded, renamed ones have today's path.

    Example:
        ``{"path": "layers.[0-2].act", "was": {"class_name": "GELU", "ops": [["Gelu", 1]]}, "now": ...}``; None on a
        side where the module is not there.
    """
    moved = renames(before, after)
    if moved:
        before = ModuleTable.of(ModuleRow(moved.now(row.path), row.class_name, row.ops) for row in before.rows)
    old, new = before.by_path, after.by_path
    paths = [path for path in dict.fromkeys([*old, *new]) if _change(old.get(path), new.get(path))]
    changes = ((path, tuple(_side(rows.get(path)) for rows in (old, new))) for path in paths)
    return [
        {"path": folded.text, "was": _data(folded.row[0]), "now": _data(folded.row[1])} for folded in fold_rows(changes)
    ]


_Side = tuple[str, tuple[tuple[str, int], ...]]


def _side(row: ModuleRow | None) -> _Side | None:
    return None if row is None else (row.class_name, row.ops)


def _data(side: _Side | None) -> dict[str, Any] | None:
    return None if side is None else {"class_name": side[0], "ops": [list(op) for op in side[1]]}


def _change(old: ModuleRow | None, new: ModuleRow | None) -> str:
    if old is None and new is not None:
        return f"new{f' ({new.class_name})' if new.class_name else ''}: {ops_text(new.ops)}"
    if old is not None and new is None:
        return f"gone (was {f'{old.class_name}: ' if old.class_name else ''}{ops_text(old.ops)})"
    assert old is not None
    assert new is not None
    parts = []
    if old.class_name != new.class_name:
        parts.append(f"{old.class_name or 'unknown class'} became {new.class_name or 'unknown class'}")
    delta = Counter(dict(new.ops))
    delta.subtract(dict(old.ops))
    parts += _changed_values(delta)
    parts += [f"{count:+d} {label}" for label, count in sorted(delta.items()) if count]
    return ", ".join(parts)


def _changed_values(delta: Counter[str]) -> Iterator[str]:
    """Labels that differ in the values of the same attributes or constants, taken out of `delta`; those that differ by
    rounding alone are no change."""
    for gone in sorted(label for label, count in delta.items() if count < 0):
        for new in sorted(label for label, count in delta.items() if count > 0):
            count = min(-delta[gone], delta[new])
            if count <= 0 or not (close := _same_but_values(gone, new)):
                continue
            delta[gone] += count
            delta[new] -= count
            if close != _ROUNDED:
                yield f"{close}{f' x{count}' if count > 1 else ''}"


_ROUNDED = "rounded"


def _same_but_values(old: str, new: str) -> str:
    """``"Div(#1 8 -> 4)"``; ``"rounded"`` where the values are the same but for rounding; empty for other operators."""
    op, _, was = old.removesuffix(")").partition("(")
    other, _, now = new.removesuffix(")").partition("(")
    before, after = (dict(item.partition("=")[::2] for item in text.split(";")) for text in (was, now))
    if op != other or not was or before.keys() != after.keys():
        return ""
    changed = [key for key in before if not _close(before[key], after[key])]
    return f"{op}({'; '.join(f'{key} {before[key]} -> {after[key]}' for key in changed)})" if changed else _ROUNDED


def _close(old: str, new: str) -> bool:
    if old == new:
        return True
    sketches = [
        [float(figure) for match in _SKETCH.findall(text) for figure in match.split(":")] for text in (old, new)
    ]
    if any(sketches):
        same_rest = _SKETCH.sub("~", old) == _SKETCH.sub("~", new)
        if not same_rest or len(sketches[0]) != len(sketches[1]):
            return False
        scales = (abs(sketches[0][0]), *[1.0] * (len(sketches[0]) - 1))  # the sums are in units of the rms
        return all(abs(a - b) <= _SKETCHED * max(scale, abs(a)) for a, b, scale in zip(*sketches, scales, strict=True))
    figures = [text.split("|") for text in (old, new)]
    return len(figures[0]) == len(figures[1]) and all(_near(a, b) for a, b in zip(*figures, strict=True))


def _near(old: str, new: str) -> bool:
    if old == new:
        return True
    try:
        a, b = float(old), float(new)
    except ValueError:
        return False
    whole = old.lstrip("-").isdecimal() and new.lstrip("-").isdecimal()
    return math.isfinite(a - b) and not whole and abs(a - b) <= _ROUNDING * abs(a)


def op_changes(before: ModuleTable, after: ModuleTable, op: str) -> tuple[str, ...]:
    """Which modules have one operator more or less often, whatever its variant; lines as in `diff_tables`."""
    paths = dict.fromkeys([*before.by_path, *after.by_path])
    tables = (
        ModuleTable.of(ModuleRow(path, "", _counts(table.by_path.get(path), op)) for path in paths)
        for table in (before, after)
    )
    return diff_tables(*tables)


def _counts(row: ModuleRow | None, op: str) -> tuple[tuple[str, int], ...]:
    count = 0 if row is None else sum(count for label, count in row.ops if label.partition("(")[0] == op)
    return ((op, count),) if count else ()


def without_values(table: ModuleTable) -> ModuleTable:
    """The table as the first format wrote it: text attributes in labels, no numbers and no constants."""
    rows = []
    for row in table.rows:
        ops: Counter[str] = Counter()
        for label, count in row.ops:
            op, _, values = label.removesuffix(")").partition("(")
            kept = [item for item in values.split(";") if _FORMER.fullmatch(item) and not item.startswith(_NEWER)]
            ops[f"{op}({';'.join(kept)})" if kept else op] += count
        rows.append(ModuleRow(row.path, row.class_name, tuple(sorted(ops.items()))))
    return ModuleTable.of(rows)
