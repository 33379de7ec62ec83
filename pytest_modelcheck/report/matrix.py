"""The whole matrix of one model, for the shell. Plain data in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_modelcheck.report.models import coverage_cell, signed
from pytest_modelcheck.report.terminal import table


def attribution_lines(figures: dict[str, Any]) -> list[str]:
    """One row per pass, then what each did to the operators, what it refused and noted, then the totals.

    Args:
        figures: As `figures.attribution_figures` gives them, with those of `owner_figures` where
            owners are known. The column "without it" is there if it was asked for.
    """
    passes = figures["passes"]
    missed = any(row["leave_one_out"] is not None for row in passes)
    owners = {row["name"]: coverage_cell(row) for row in figures.get("owners", ())}
    header = ["pass", "alone", "in order", *(["without it"] if missed else []), *(["coverage"] if owners else [])]
    header += ["Constants", "initializers", "seconds"]
    rows = []
    for row in passes:
        deltas = [signed(row[basis]) for basis in ("isolated", "in_order", *(["leave_one_out"] if missed else []))]
        beside = [signed(row["constants"]), signed_bytes(row["initializer_bytes"]), f"{row['seconds']:.2f}"]
        rows.append([row["name"], *deltas, *([owners[row["name"]]] if owners else []), *beside, row["status"]])
    nodes, weights = figures["nodes"], figures["initializer_bytes"]
    return [
        *table([*header, "status"], rows),
        *(line for row in passes for line in _about(row)),
        f"initializers {weights['before']:,} -> {weights['after']:,} bytes",
        f"nodes {nodes['before']} -> {nodes['after']} "
        f"(Constants beside: {nodes['constants_before']} -> {nodes['constants_after']})",
    ]


def _about(row: dict[str, Any]) -> Iterator[str]:
    if row["operators"]:
        yield f"{row['name']}: {', '.join(f'{op} {delta:+d}' for op, delta in row['operators'].items())}"
    for refused in row["reasons"]:
        yield f"{row['name']}: refused {refused['count']} x: {refused['reason']}"
    for note in row["notes"]:
        yield f"{row['name']}: {note}"
    if row["error"]:
        yield f"{row['name']}: {row['error']}"


def signed_bytes(count: int) -> str:
    """``"+1.2 kB"``; 0 has no sign and no unit."""
    if not count:
        return "0"
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if abs(size) < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:+.0f} B" if unit == "B" else f"{size:+.1f} {unit}"
