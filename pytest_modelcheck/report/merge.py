"""Several JSON reports as one: what is left to do after several machines shared a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.report.files import write_report
from pytest_modelcheck.report.rows import SCHEMA


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON report that `write_report` wrote.

    Raises:
        OptionError: naming the file, if it cannot be read, is not a report, or is one of another schema.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"report {path}: {error}") from error
    if not isinstance(report, dict) or not isinstance(report.get("tests"), list):
        raise OptionError(f"report {path}: holds no tests; write it with --modelcheck-report {path.name}")
    if report.get("schema") != SCHEMA:
        raise OptionError(f"report {path}: schema {report.get('schema')!r}, this version reads {SCHEMA}")
    return report


def merge(reports: Iterable[tuple[str, dict[str, Any]]]) -> tuple[list[dict[str, Any]], int]:
    """The rows of all reports by test id, and the exit status of the whole: the first one that is not 0.

    Args:
        reports: (the report's name, its content).

    Raises:
        OptionError: if two reports hold one test: each has its own figures for it, and neither is the right one.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    status = 0
    for name, report in reports:
        status = status or int(report.get("exit_status", 0))
        for row in report["tests"]:
            if row["test"] in found:
                raise OptionError(
                    f"{row['test']} is in {found[row['test']][0]} and in {name}: split the tests, not runs"
                )
            found[row["test"]] = (name, row)
    return [row for _, (_, row) in sorted(found.items())], status


def _about(reports: Iterable[dict[str, Any]]) -> dict[str, str]:
    """What the runs were; where they differ, each of them."""
    said: dict[str, dict[str, None]] = {}
    for report in reports:
        for name, text in report.get("run", {}).items():
            said.setdefault(name, {})[text] = None
    return {name: "; ".join(texts) for name, texts in said.items()}


def merge_files(paths: Sequence[Path], output: Path) -> tuple[list[dict[str, Any]], int]:
    """`merge` for files; the result is written to `output`.

    Raises:
        OptionError: as `read_json` and `merge`.
        OSError: if `output` cannot be written.
    """
    reports = [(str(path), read_json(path)) for path in paths]
    rows, status = merge(reports)
    write_report(rows, output, exit_status=status, about=_about(report for _, report in reports))
    return rows, status
