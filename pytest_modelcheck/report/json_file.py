"""The report as JSON: everything the terminal shows, for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_modelcheck.report.rows import SCHEMA


def json_report(rows: Sequence[dict[str, Any]], *, exit_status: int = 0, about: Mapping[str, str] | None = None) -> str:
    """Return the report as text.

    Args:
        rows: One per test, see `rows.row_of_test`.
        exit_status: Of the whole run, as pytest knows it: not 0 for an interrupted one.
        about: When, where and by which command it ran, see `about.about_run`.

    Raises:
        ValueError: if a figure is NaN or infinite without having been turned into text.
    """
    tests = [{**row, "model": _without_pictures(row["model"])} if row.get("model") else row for row in rows]
    report = {"schema": SCHEMA, "run": dict(about or {}), "exit_status": exit_status, "tests": tests}
    return json.dumps(report, indent=2, allow_nan=False) + "\n"


def _without_pictures(model: dict[str, Any]) -> dict[str, Any]:
    return {name: figures for name, figures in model.items() if name != "pictures"}
