"""A module table as text, and back.

```
encoder.layer.[0-11].attention.self (BertSelfAttention) x12: Div(#1=8) 1, MatMul 2, Softmax 1
encoder.layer.[0-11].output.dropout (Dropout) x12: -
```
"""

from __future__ import annotations

import re

from pytest_modelcheck.hierarchy.folded_rows import escape, fold_rows, unescape, unfold
from pytest_modelcheck.hierarchy.table import ModuleRow, ModuleTable

_ROW = re.compile(
    r"(?P<path>\(root\)|\(no module\)|[^\s()]+)(?: \((?P<cls>[^()]*)\))?(?: x(?P<count>\d+))?: (?P<ops>.+)"
)
_NOTHING = "-"


def render(table: ModuleTable) -> str:
    """The canonical text: one line per row, repeated modules folded. `parse` gives the same table back."""
    lines = []
    for folded in fold_rows((row.path, (row.class_name, row.ops)) for row in table.rows):
        class_name, ops = folded.row
        shown = f" ({escape(class_name, '()')})" if class_name else ""
        count = f" x{len(folded.paths)}" if len(folded.paths) > 1 else ""
        lines.append(f"{folded.text}{shown}{count}: {ops_text(ops)}")
    return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> ModuleTable:
    """The table that `text` was rendered from.

    Raises:
        ValueError: naming the line that is not a row, or whose count does not fit its path.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = _ROW.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not a row of a module table: {line!r}")
        paths = unfold(match["path"])
        if len(paths) != int(match["count"] or 1):
            raise ValueError(f"line {number}: {match['path']} stands for {len(paths)} modules, not {match['count']}")
        ops = () if match["ops"] == _NOTHING else tuple(_op(item, number) for item in match["ops"].split(", "))
        rows += [ModuleRow(path, unescape(match["cls"] or ""), ops) for path in paths]
    return ModuleTable.of(rows)


def ops_text(ops: tuple[tuple[str, int], ...]) -> str:
    """``"MatMul 2, Softmax 1"``; ``"-"`` for none."""
    return ", ".join(f"{label} {count}" for label, count in ops) or _NOTHING


def _op(item: str, number: int) -> tuple[str, int]:
    label, _, count = item.rpartition(" ")
    if not label or not count.isdecimal():
        raise ValueError(f"line {number}: {item!r} is not an operator with a count")
    return label, int(count)
