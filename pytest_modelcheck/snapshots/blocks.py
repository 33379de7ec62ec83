"""What differs between two texts made of blocks: an unindented head line, followed by indented rows."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from pytest_modelcheck.result import first_lines

_SHOWN = 12


def block_differences(recorded: str, now: str) -> tuple[str, ...]:
    """``- old row`` and ``+ new row``, each below the head of its block; blocks in today's order, and those that are
    gone where they were.

    A block with another head and the same rows was renamed: ``layers.[0-2].attention  x3 -> layers.[0-2].mixer  x3``.
    """
    before, after = _blocks(recorded), _blocks(now)
    lines: list[str] = []
    for old, new in _renamed(before, after):
        lines.append(f"{old} -> {new}")
        del before[old], after[new]
    for head in _in_place(list(before), list(after)):
        if head not in before:
            lines += [f"+ {head}", *(f"    {row.strip()}" for row in after[head])]
        elif head not in after:
            lines += [f"- {head}", *(f"    {row.strip()}" for row in before[head])]
        elif before[head] != after[head]:
            lines.append(head)
            changed = (line for line in difflib.ndiff(before[head], after[head]) if line[0] in "+-")
            lines += [f"  {line[0]} {line[2:].strip()}" for line in changed]
    return first_lines(lines, _SHOWN, "lines")


def _in_place(before: list[str], after: list[str]) -> list[str]:
    """Each head once: those of `after` in their order, and before what follows it, each that is gone."""
    steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [
        head
        for _, start, end, first, last in steps
        for head in (*(head for head in before[start:end] if head not in after), *after[first:last])
    ]


def _renamed(before: Mapping[str, list[str]], after: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """(old head, new head) of blocks whose rows occur under no other head that came or went."""
    gone, new = (
        [(head, rows) for head, rows in these.items() if rows and head not in others]
        for these, others in ((before, after), (after, before))
    )
    return [
        (old, head)
        for old, was in gone
        for head, rows in new
        if was == rows and all(sum(rows == other for _, other in side) == 1 for side in (gone, new))
    ]


def _blocks(text: str) -> dict[str, list[str]]:
    """Head line -> rows below it; a head that occurs again gets a number, so that no block is lost."""
    blocks: dict[str, list[str]] = {}
    rows: list[str] = []
    for line in text.splitlines():
        if line.startswith(" "):
            rows.append(line)
        elif line:
            head, count = line, 1
            while head in blocks:
                count += 1
                head = f"{line} ({count})"
            rows = blocks[head] = []
    return blocks
