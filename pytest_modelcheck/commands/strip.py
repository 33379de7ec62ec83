"""``python -m pytest_modelcheck strip FILE OUT``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, where the stripped one goes, and whether its owners are kept beside it."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("--sidecar", action="store_true", help="keep the owners in OUT.hierarchy.json, for `hierarchy`")


def run(arguments: argparse.Namespace) -> int:
    """Write a model without the owners and without what torch's exporter wrote about its source, for a release."""
    from pytest_modelcheck.graph.files import load_model, save_model
    from pytest_modelcheck.hierarchy import hierarchy_of_model, strip, write_sidecar

    model, output = load_model(arguments.file), Path(arguments.output)
    if arguments.sidecar:
        write_sidecar(output, model, hierarchy_of_model(model))
    save_model(strip(model, exporter=True), output)
    return 0
