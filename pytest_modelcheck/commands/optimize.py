"""``python -m pytest_modelcheck optimize FILE [OUTPUT]``."""

from __future__ import annotations

import argparse

from pytest_modelcheck.commands.output import add_json, add_pipeline, pipeline, show, stdout_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, where the result goes, and the pipeline."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("output", nargs="?", help="default: FILE.optimized.onnx beside FILE")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run every pass's result on drawn inputs, and undo rewrites that change an output",
    )
    add_pipeline(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the pipeline and write the result; nothing is written if a pass fails."""
    from pytest_modelcheck.pipeline import optimize_file

    with stdout_to_stderr():
        written = optimize_file(
            arguments.file,
            passes=pipeline(arguments.passes),
            target=arguments.target,
            output=arguments.output,
            verify=arguments.verify,
        )
    before, after = written.nodes_before, written.nodes_after
    figures = {"file": str(written.path), "nodes": {"before": before, "after": after}}
    show(arguments, figures, [f"{written.path}: {before} -> {after} nodes"])
    return 0
