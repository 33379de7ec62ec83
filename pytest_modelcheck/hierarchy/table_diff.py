"""What changed between two module tables, in the words of modules."""

from __future__ import annotations

from collections import Counter

from pytest_modelcheck.hierarchy.folded_rows import fold_rows
from pytest_modelcheck.hierarchy.table import ModuleRow, ModuleTable
from pytest_modelcheck.hierarchy.table_text import ops_text


def diff_tables(before: ModuleTable, after: ModuleTable) -> tuple[str, ...]:
    """One line per change, repeated modules folded; empty where the tables are equal.

    ```
    encoder.layer.[0-11].attention.self: +2 Transpose each (x12)
    encoder.layer.3.attention.self: +1 Transpose
    encoder.layer.7.extra: new (Identity): -
    pooler: gone (was Pooler: Gather 1)
    encoder.layer.[0-11].act: GELUActivation became Tanh each (x12)
    ```
    """
    old, new = before.by_path, after.by_path
    changes = []
    for path in dict.fromkeys([*old, *new]):
        if text := _change(old.get(path), new.get(path)):
            changes.append((path, text))
    lines = []
    for folded in fold_rows(changes):
        each = f" each (x{len(folded.paths)})" if len(folded.paths) > 1 else ""
        lines.append(f"{folded.text}: {folded.row}{each}")
    return tuple(lines)


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
    parts += [f"{count:+d} {label}" for label, count in sorted(delta.items()) if count]
    return ", ".join(parts)


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
