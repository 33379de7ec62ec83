"""Writing a report: a file appears whole or not at all, in the form that its ending asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_whole(path: Path, text: str) -> None:
    """Write a text file, and its folder where there is none.

    Raises:
        OSError: if the folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def write_report(rows: Sequence[dict[str, Any]], path: Path, *, exit_status: int = 0) -> None:
    """Write the report of a run as JSON, Markdown or HTML.

    Args:
        rows: One per test, see `rows.row_of_test`.
        path: Its ending is one of `options.REPORT_SUFFIXES`.
        exit_status: Of the whole run, as pytest knows it.

    Raises:
        OSError: if the file cannot be written.
    """
    if path.suffix == ".json":
        from pytest_modelcheck.report.json_file import write_json

        write_json(rows, path, exit_status=exit_status)
    elif path.suffix == ".md":
        from pytest_modelcheck.report.markdown import markdown

        write_whole(path, markdown(rows, exit_status=exit_status))
    else:
        from pytest_modelcheck.report.html import html

        write_whole(path, html(rows, exit_status=exit_status))
