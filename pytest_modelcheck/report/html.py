"""Reports as one HTML file: no script, no network; it can be kept as a CI artifact and opened anywhere.

Filters are radio buttons that style sheets read, so they work from the keyboard and where scripts are not allowed.
Every text is escaped, and control characters in it are shown, in one place: `_environment`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_modelcheck.report.about import about_lines
from pytest_modelcheck.report.latency_picture import drawn
from pytest_modelcheck.report.markdown import findings_of, headline
from pytest_modelcheck.report.models import (
    OVERVIEW,
    matrix_caption,
    models_of,
    notes,
    overview,
    pass_cells,
    pass_names,
    state,
)
from pytest_modelcheck.result import printable

_STATES = ("fail", "inconclusive", "pass")
_DRAWN = 40
"""Changed modules that are drawn for one test."""


def html(rows: Sequence[dict[str, Any]], *, exit_status: int = 0, about: Mapping[str, str] | None = None) -> str:
    """The report of a run: what it was, every finding, the models, and what explains them.

    Args:
        rows: One per test, see `rows.row_of_test`.
        exit_status: Of the whole run, as pytest knows it.
        about: When, where and by which command it ran, see `about.about_run`.
    """
    models = models_of(rows)
    failed = [row["test"] for row in rows if row["outcome"] == "failed"]
    found, latencies, trees = _findings(rows), drawn(models), _trees(models)
    noted = [(model["name"], model["exporter"], note) for model in models for note in notes(model)]
    table, pictures = _overview(models), list(_pictures(models))
    names, measured = pass_names(models), [model for model in models if model.get("passes")]
    steps = list(dict.fromkeys(step for model in models for step in model.get("seconds", {})))
    sections = {
        "Findings": found, "Models": models, "Latency": latencies, "Modules": trees, "Notes": noted,
        "Passes": names and measured, "Pictures": pictures, "Seconds": steps,
    }  # fmt: skip
    verdicts = [state(model) for model in models]
    return _render(
        "report.html.j2",
        headline=headline(rows) + (f" (exit status {exit_status})" if exit_status and not failed else ""),
        failed=failed,
        exit_status=exit_status,
        about=about_lines(about or {}, models),
        sections=[(title.lower(), title) for title, content in sections.items() if content],
        findings=found,
        states={each: verdicts.count(each) for each in _STATES if each in verdicts},
        exporters=_exporters(models),
        overview_header=OVERVIEW,
        overview=table,
        latencies=latencies.rows if latencies else (),
        scale=latencies,
        trees=trees,
        notes=noted,
        matrix_caption=matrix_caption(models),
        matrix_models=measured,
        matrix=[(name, [pass_cells(model, [name])[0] for model in measured]) for name in names],
        pictures=pictures,
        steps=steps,
        models=models,
    )


def compared_html(
    differences: Sequence[tuple[str, str, str, str]], header: Sequence[str], sides: Sequence[tuple[str, dict[str, Any]]]
) -> str:
    """Two reports side by side: what differs first, then what each of them is.

    Args:
        differences: Rows of `compare.compare`.
        header: Their columns.
        sides: (name, JSON report) of both.
    """
    count = len(differences)
    shown = []
    for name, report in sides:
        models = models_of(report["tests"])
        shown.append({"name": name, "about": about_lines(report.get("run", {}), models), "overview": _overview(models)})
    return _render(
        "compare.html.j2",
        headline=f"{count} difference{'s' * (count != 1)}" if count else "both say the same",
        header=header,
        rows=differences,
        sides=shown,
        overview_header=OVERVIEW,
    )


def _render(template: str, **values: Any) -> str:
    import jinja2
    import markupsafe

    def escaped(value: object) -> object:
        return value if isinstance(value, markupsafe.Markup) or not isinstance(value, str) else printable(value)

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=escaped,
    )
    return environment.get_template(template).render(**values)


def _exporters(models: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(model["exporter"] for model in models))


def _overview(models: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    numbers = {exporter: number for number, exporter in enumerate(_exporters(models))}
    return [
        {"state": state(model), "exporter_number": numbers[model["exporter"]], "cells": overview(model)}
        for model in models
    ]


def _findings(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tests with findings, failed ones first."""
    by_test = {row["test"]: row for row in rows}
    found = []
    for test, texts in findings_of(rows):
        row = by_test[test]
        changed = row.get("changed", ())
        found.append(
            {
                "name": test,
                "state": "fail" if row["outcome"] == "failed" else "inconclusive",
                "findings": [list(map(_line, text.splitlines())) for text in texts],
                "changed": list(map(_module, changed[:_DRAWN])),
                "more": max(0, len(changed) - _DRAWN),
            }
        )
    return sorted(found, key=lambda test: test["state"] != "fail")


def _line(text: str) -> dict[str, str]:
    bare = text.removeprefix("  where:").lstrip()
    return {"text": text, "kind": {"- ": "gone", "+ ": "new"}.get(bare[:2], "")}


def _module(changed: Mapping[str, Any]) -> dict[str, Any]:
    """A changed module as two boxes: what is only in one of them has a sign and a colour."""
    sides = []
    for when, other, kind, sign in (("was", "now", "gone", "-"), ("now", "was", "new", "+")):
        side, facing = changed[when], dict((changed[other] or {}).get("ops", ()))
        ops = []
        for label, count in (side or {}).get("ops", ()):
            alone = facing.get(label) != count
            text = label if count == 1 else f"{label} x{count}"
            ops.append({"text": text, "kind": kind if alone else "", "sign": sign if alone else ""})
        class_name = "not there" if side is None else side["class_name"] or "unknown class"
        sides.append({"when": "before" if when == "was" else "after", "class_name": class_name, "ops": ops})
    return {"path": changed["path"] or "(root)", "sides": sides}


def _trees(models: Sequence[dict[str, Any]]) -> list[tuple[str, str, Sequence[str]]]:
    return [(model["name"], model["exporter"], model["tree"]) for model in models if model.get("tree")]


def _pictures(models: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str, Any]]:
    import markupsafe

    for model in models:
        for picture in model.get("pictures", ()):
            yield model["name"], model["exporter"], picture["caption"], markupsafe.Markup(picture["svg"])
