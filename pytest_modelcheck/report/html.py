"""The report as one HTML file: no script, no network; it can be kept as a CI artifact and opened anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_modelcheck.report.markdown import findings_of
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

_TEMPLATE = Path(__file__).with_name("report.html.j2")


def html(rows: Sequence[dict[str, Any]], *, exit_status: int = 0) -> str:
    """The report of a run: the verdicts, every finding, the matrix of passes, pictures, and what the checks cost.

    Args:
        rows: One per test, see `rows.row_of_test`.
        exit_status: Of the whole run, as pytest knows it.
    """
    import jinja2
    import markupsafe

    models = models_of(rows)
    names = pass_names(models)
    measured = [model for model in models if model.get("passes")]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        _TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        tests=len(rows),
        failed=[row["test"] for row in rows if row["outcome"] == "failed"],
        exit_status=exit_status,
        overview_header=OVERVIEW,
        overview=[(state(model), overview(model)) for model in models],
        findings=findings_of(rows),
        notes=[(model["name"], model["exporter"], note) for model in models for note in notes(model)],
        matrix_caption=matrix_caption(models),
        matrix_models=measured,
        matrix=list(zip(names, zip(*(pass_cells(model, names) for model in measured), strict=True), strict=True))
        if measured
        else [],
        pictures=[
            (model["name"], model["exporter"], picture["caption"], markupsafe.Markup(picture["svg"]))
            for model in models
            for picture in model.get("pictures", ())
        ],
        steps=list(dict.fromkeys(step for model in models for step in model.get("seconds", {}))),
        models=models,
    )
