"""``python -m pytest_modelcheck optimize FILE [OUTPUT]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_modelcheck.commands.output import add_json, add_pipeline, pipeline, show, stdout_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, where the result goes, and the pipeline."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("output", nargs="?", help="default: FILE.optimized.onnx beside FILE")
    add_pipeline(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the pipeline and write the result; nothing is written if a pass fails."""
    from pytest_modelcheck.graph.counts import count_nodes
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.pipeline import optimize

    passes = pipeline(arguments.passes)
    before = count_nodes(load_model(arguments.file))
    with stdout_to_stderr():
        written = optimize(Path(arguments.file), passes=passes, target=arguments.target, output=arguments.output)
    after = count_nodes(load_model(written))
    figures = {"file": str(written), "nodes": {"before": before, "after": after}}
    show(arguments, figures, [f"{written}: {before} -> {after} nodes"])
    return 0
