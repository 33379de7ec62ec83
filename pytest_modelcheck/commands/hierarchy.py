"""``python -m pytest_modelcheck hierarchy FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_modelcheck.commands.output import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, its sidecar, how owners are found, and how deep the tree is shown."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--strategy", choices=("auto", "precise", "broad"), default="auto")
    parser.add_argument("--sidecar", metavar="FILE.json", help="default: FILE.hierarchy.json, if it exists")
    parser.add_argument("--depth", type=int, help="levels of the tree; default: all")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the tree of modules with the nodes of each, from the sidecar of the file if there is one."""
    from pytest_modelcheck.report.hierarchy_file import file_figures, file_lines

    sidecar = None if arguments.sidecar is None else Path(arguments.sidecar)
    figures = file_figures(Path(arguments.file), strategy=arguments.strategy, sidecar=sidecar, depth=arguments.depth)
    show(arguments, figures, file_lines(figures))
    return 0
