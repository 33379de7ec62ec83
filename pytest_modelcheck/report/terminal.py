"""The terminal summary: one line per model, and what explains those that are not green. Plain data in, lines out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_modelcheck.report.drift import drift_lines
from pytest_modelcheck.report.models import (
    OVERVIEW,
    duplicates,
    matrix_caption,
    models_of,
    not_kept,
    not_locked,
    notes,
    overview,
    pass_cells,
    pass_names,
    reuse_lines,
    state,
)
from pytest_modelcheck.result import first_lines, listed

_NOTES, _NOTE_WIDTH, _NAMED = 5, 200, 3
_HIDDEN = "what each pass changed, and notes: -v"


def summary_lines(
    rows: Sequence[dict[str, Any]],
    width: int = 120,
    *,
    verbose: bool = False,
    explain: bool = False,
    failures: bool = False,
) -> list[str]:
    """The whole summary of a run; empty where no test checked a model.

    Args:
        rows: One per test, see `rows.row_of_test`.
        width: Characters of a line.
        verbose: Notes and passes of green models too, and the modules of each model.
        explain: Add what was taken from an earlier run, and why not more.
        failures: Add why exports failed, where nothing else of the output says it.
    """
    models = models_of(rows)
    if not models:
        return []
    lines = table(OVERVIEW, map(overview, models))
    lines += [line for model in models if failures for line in _failure_lines(model)]
    lines += [f"  {line}" for line in duplicates(models)]
    lines += drift_lines(rows)
    lines += [f"  {line}" for line in not_kept(models)]
    lines += [line for model in models if explain for line in reuse_lines(model)]
    lines += _unlocked_lines(models)
    lines += _explained_lines(rows)
    shown = [model for model in models if verbose or state(model) != "pass"]
    lines += _note_lines(shown)
    if measured := [model for model in shown if pass_names([model])]:
        lines += ["", matrix_caption(measured), *_matrix(measured, width)]
    if any(model.get("passes") or notes(model) for model in models if model not in shown):
        lines.append(f"  {_HIDDEN}")
    for model in models if verbose else ():
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
        lines.append(f"  not locked by a snapshot: {', '.join(kinds)} of {listed(names, _NAMED)}")
    return lines


def _explained_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Where the words of the failures are explained."""
    failed = [row for row in rows if row["outcome"] == "failed"]
    words = [row["model"]["failure"]["kind"] for row in failed if (row["model"] or {}).get("failure")]
    for row in failed:
        found = (*row["findings"], *(finding for gate in row["gates"] for finding in gate["findings"]))
        words += [f["subject"] if f["gate"] == "snapshot" else f["gate"] for f in found if f["gate"] != "modelcheck"]
    named = " ".join(dict.fromkeys(words))
    return [f"  what it means: python -m pytest_modelcheck explain {named}"] if named else []


def _note_lines(models: Sequence[dict[str, Any]]) -> list[str]:
    """Each note once, as it is shown, with the models that it is about."""
    about: dict[str, dict[str, None]] = {}
    for model in models:
        for note in notes(model):
            shown = textwrap.shorten(note, _NOTE_WIDTH, placeholder=" ...")
            about.setdefault(shown, {})[f"{model['name']} [{model['exporter']}]"] = None
    lines = [f"note on {listed(list(names), _NAMED)}: {note}" for note, names in about.items()]
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
