"""The terminal summary: one line per model, then the matrix of passes. Plain data in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pytest_modelcheck.report.models import (
    OVERVIEW,
    matrix_caption,
    models_of,
    not_locked,
    notes,
    overview,
    pass_cells,
    pass_names,
)
from pytest_modelcheck.result import first_lines

_NOTES, _NOTE_WIDTH, _NAMED = 3, 200, 3


def summary_lines(rows: Sequence[dict[str, Any]], width: int = 120, *, trees: bool = False) -> list[str]:
    """The whole summary of a run; empty where no test checked a model. `trees` adds the modules of each model."""
    models = models_of(rows)
    if not models:
        return []
    lines = table(OVERVIEW, map(overview, models))
    lines += [line for model in models for line in _failure_lines(model)]
    lines += [line for model in models for line in _note_lines(model)]
    lines += _unlocked_lines(models)
    if any(model.get("passes") for model in models):
        lines += ["", matrix_caption(models)]
        lines += _matrix([model for model in models if model.get("passes")], width)
    for model in models if trees else ():
        if model.get("tree"):
            lines += ["", f"modules of {model['name']} [{model['exporter']}], nodes exported -> optimized"]
            lines += model["tree"]
    return lines


def _failure_lines(model: dict[str, Any]) -> list[str]:
    failure = model.get("failure")
    return [f"  {model['name']}: {failure['text']}"] if failure else []


def _unlocked_lines(models: Sequence[dict[str, Any]]) -> list[str]:
    """What may change without a test turning red, one line per set of kinds."""
    open_in: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        if kinds := not_locked(model):
            open_in.setdefault(kinds, []).append(f"{model['name']} [{model['exporter']}]")
    lines = []
    for kinds, names in open_in.items():
        shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        lines.append(f"  not locked by a snapshot: {', '.join(kinds)} of {shown}")
    return lines


def _note_lines(model: dict[str, Any]) -> list[str]:
    lines = [f"note on {model['name']} [{model['exporter']}]: {note[:_NOTE_WIDTH]}" for note in notes(model)]
    return [f"  {line}" for line in first_lines(lines, _NOTES, "in the JSON report")]


def _matrix(models: Sequence[dict[str, Any]], width: int) -> list[str]:
    """Passes down, models across; wide matrices are cut into blocks of columns."""
    names = pass_names(models)
    first = max(map(len, [*names, "pass"])) + 2
    columns = [_column(model, names) for model in models]
    lines: list[str] = []
    block: list[list[str]] = []
    for column in columns:
        used = first + sum(max(map(len, other)) + 2 for other in [*block, column])
        if block and used > width:
            lines += [*_block(names, block), ""]
            block = []
        block.append(column)
    return [*lines, *_block(names, block)]


def _column(model: dict[str, Any], names: Sequence[str]) -> list[str]:
    total = f"{model['nodes']['before']} -> {model['nodes']['after']}"
    return [model["name"], model["exporter"], *pass_cells(model, names), total]


def _block(names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    labels = ["pass", "", *names, "nodes"]
    first = max(map(len, labels))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for index, label in enumerate(labels):
        cells = (column[index].rjust(width) for column, width in zip(columns, widths, strict=True))
        lines.append(f"{label:<{first}}  " + "  ".join(cells))
    return lines


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as their widest cell."""
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
