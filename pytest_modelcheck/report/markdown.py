"""The report as Markdown: what a pull request's comment or a CI job's summary shows.

Its first line is invisible: by it a workflow finds the comment that it renews. What explains rather than decides is
folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pytest_modelcheck.report.models import OVERVIEW, matrix_caption, models_of, notes, overview, pass_cells, pass_names
from pytest_modelcheck.report.rows import finding_text, findings_in
from pytest_modelcheck.result import printable_line

MARK = "<!-- pytest-modelcheck -->"


def markdown(rows: Sequence[dict[str, Any]], *, exit_status: int = 0) -> str:
    """The report of a run: the verdicts, every finding, notes, the matrix of passes, and what the checks cost.

    Args:
        rows: One per test, see `rows.row_of_test`.
        exit_status: Of the whole run, as pytest knows it.
    """
    models = models_of(rows)
    failed = any(row["outcome"] == "failed" for row in rows)
    title = f"Model checks: {headline(rows)}"
    parts = [MARK, f"# {title}" + (f" (exit status {exit_status})" if exit_status and not failed else "")]
    parts.append(markdown_table(OVERVIEW, map(overview, models)) if models else "No model was checked.")
    for test, findings in findings_of(rows):
        parts += [f"## {_inline(test)}", *map(_fenced, findings)]
    told = [_inline(f"- {model['name']} [{model['exporter']}]: {note}") for model in models for note in notes(model)]
    parts += [_folded("Notes", "\n".join(told))] if told else []
    if names := pass_names(models):
        measured = [model for model in models if model.get("passes")]
        columns = [pass_cells(model, names) for model in measured]
        header = ["pass", *(f"{model['name']} {model['exporter']}" for model in measured)]
        caption = matrix_caption(models)
        table = markdown_table(header, ([name, *cells] for name, *cells in zip(names, *columns, strict=True)))
        parts.append(_folded("Passes", f"{caption[0].upper()}{caption[1:]}.\n\n{table}"))
    if costs := list(_costs(models)):
        parts.append(_folded("Seconds", markdown_table(["model", "exporter", "step", "seconds"], costs)))
    return "\n\n".join(parts) + "\n"


def _folded(title: str, text: str) -> str:
    """A section that opens on a click. GitHub renders Markdown in it after an empty line."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def headline(rows: Sequence[dict[str, Any]]) -> str:
    """How many tests failed, or passed."""
    failed = sum(row["outcome"] == "failed" for row in rows)
    tests = f"{len(rows)} test{'s' * (len(rows) != 1)}"
    return f"{failed} of {tests} failed" if failed else f"{tests} passed"


def findings_of(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Test -> its findings as text, tests without one left out."""
    found = []
    for row in rows:
        if findings := findings_in(row):
            found.append((row["test"], list(map(finding_text, findings))))
    return found


def _costs(models: Sequence[dict[str, Any]]) -> Iterable[list[str]]:
    for model in models:
        for step, seconds in model.get("seconds", {}).items():
            yield [model["name"], model["exporter"], step, f"{seconds:.1f}"]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")


_SPECIAL = {"&": "&amp;", "<": "&lt;", "`": "&#96;", "@": "&#64;"}


def _inline(text: str) -> str:
    """A name as text of one line: it opens no tag and no code, and calls nobody."""
    return "".join(_SPECIAL.get(letter, letter) for letter in printable_line(text))


def _fenced(text: str) -> str:
    """A block of text, in a fence longer than any inside it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
