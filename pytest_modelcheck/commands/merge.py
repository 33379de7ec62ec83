"""``python -m pytest_modelcheck merge REPORT.json ... --output FILE.json``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The reports, and where the whole goes."""
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    parser.add_argument("--output", required=True, metavar="FILE.json")


def run(arguments: argparse.Namespace) -> int:
    """Merge JSON reports of runs that shared the tests; exit status of the whole: the first one that is not 0."""
    from pytest_modelcheck.report.merge import merge_files
    from pytest_modelcheck.report.terminal import summary_lines
    from pytest_modelcheck.result import printable_line

    rows, status = merge_files([Path(name) for name in arguments.reports], Path(arguments.output))
    print("\n".join(map(printable_line, summary_lines(rows, failures=True))))
    return status
