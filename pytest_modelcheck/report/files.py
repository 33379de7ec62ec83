"""Writing a report: a file appears whole or not at all, in the form that its suffix asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_report(
    rows: Sequence[dict[str, Any]], path: Path, *, exit_status: int = 0, about: Mapping[str, str] | None = None
) -> None:
    """Write the report of a run in the form that the file's name asks for, and its folder where there is none.

    Args:
        rows: One per test, see `rows.row_of_test`.
        path: Its suffix is one of `options.REPORT_SUFFIXES`; ``.codequality.json`` and ``.benchmark.json`` are forms
            of their own.
        exit_status: Of the whole run, as pytest knows it.
        about: When, where and by which command it ran, see `about.about_run`.

    Raises:
        OSError: if the folder cannot be made or written.
        ValueError: if a figure for a JSON report is NaN or infinite.
    """
    text = _text(rows, path.name, exit_status, about or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        scratch.write_text(text, encoding="utf-8")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _text(rows: Sequence[dict[str, Any]], name: str, exit_status: int, about: Mapping[str, str]) -> str:
    if name.endswith((".codequality.json", ".benchmark.json")):
        from pytest_modelcheck.report.ci_files import benchmark, code_quality

        return code_quality(rows) if name.endswith(".codequality.json") else benchmark(rows)
    if name.endswith(".json"):
        from pytest_modelcheck.report.json_file import json_report

        return json_report(rows, exit_status=exit_status, about=about)
    if name.endswith(".md"):
        from pytest_modelcheck.report.markdown import markdown

        return markdown(rows, exit_status=exit_status)
    from pytest_modelcheck.report.html import html

    return html(rows, exit_status=exit_status, about=about)
