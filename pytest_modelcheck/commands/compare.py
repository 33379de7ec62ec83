"""``python -m pytest_modelcheck compare BEFORE.json AFTER.json``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_modelcheck.commands.output import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two reports."""
    parser.add_argument("before", metavar="BEFORE.json")
    parser.add_argument("after", metavar="AFTER.json")
    parser.add_argument("--output", metavar="FILE.html", type=Path, help="both reports side by side, as a page")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what differs between two JSON reports, as a table for a pull request; exit status 1 if anything does."""
    from pytest_modelcheck.report.compare import HEADER, compare, compared_text
    from pytest_modelcheck.report.merge import read_json

    before, after = (read_json(Path(name)) for name in (arguments.before, arguments.after))
    rows = compare(before["tests"], after["tests"])
    if arguments.output is not None:
        from pytest_modelcheck.report.html import compared_html

        sides = ((arguments.before, before), (arguments.after, after))
        arguments.output.write_text(compared_html(rows, HEADER, sides), encoding="utf-8")
    figures = {"differences": [dict(zip(HEADER, row, strict=True)) for row in rows]}
    show(arguments, figures, compared_text(rows).splitlines())
    return 1 if rows else 0
