"""``python -m pytest_modelcheck strip FILE OUT``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and where the stripped one goes."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("output", metavar="OUT")


def run(arguments: argparse.Namespace) -> int:
    """Write a model without the owners and without what torch's exporter wrote about its source, for a release."""
    from pytest_modelcheck.graph.files import load_model, save_model
    from pytest_modelcheck.hierarchy import strip

    save_model(strip(load_model(arguments.file), exporter=True), Path(arguments.output))
    return 0
