"""``python -m pytest_modelcheck history REPORT.json ...``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_modelcheck.commands.output import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The reports."""
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what changed over the runs of several JSON reports, oldest first: figures, verdicts, times."""
    from pytest_modelcheck.report.history import history
    from pytest_modelcheck.report.markdown import markdown_table
    from pytest_modelcheck.report.merge import read_json

    header, rows = history([(name, read_json(Path(name))) for name in arguments.reports])
    figures = {"columns": header, "rows": rows}
    text = markdown_table(header, rows) if rows else "All reports say the same."
    show(arguments, figures, text.splitlines())
    return 0
