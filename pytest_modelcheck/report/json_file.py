"""The report as JSON: everything the terminal shows, for machines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_modelcheck.report.files import write_whole
from pytest_modelcheck.report.rows import SCHEMA


def write_json(rows: Sequence[dict[str, Any]], path: Path, *, exit_status: int = 0) -> None:
    """Write the report; the file appears whole or not at all.

    Args:
        rows: One per test, see `rows.row_of_test`.
        path: The file.
        exit_status: Of the whole run, as pytest knows it: a run that was cut short has not 0 here.

    Raises:
        OSError: if the folder cannot be made or written.
        ValueError: if a figure is NaN or infinite without having been turned into text.
    """
    tests = [{**row, "model": _without_pictures(row["model"])} if row.get("model") else row for row in rows]
    text = json.dumps({"schema": SCHEMA, "exit_status": exit_status, "tests": tests}, indent=2, allow_nan=False)
    write_whole(path, text + "\n")


def _without_pictures(model: dict[str, Any]) -> dict[str, Any]:
    return {name: figures for name, figures in model.items() if name != "pictures"}
