"""``python -m pytest_modelcheck attribute FILE``."""

from __future__ import annotations

import argparse

from pytest_modelcheck.commands.output import add_json, add_pipeline, pipeline, show, stdout_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the pipeline, and whether each pass is left out once."""
    parser.add_argument("file", metavar="FILE")
    add_pipeline(parser)
    parser.add_argument("--leave-one-out", action="store_true", help="also run the pipeline without each pass")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what each pass removes: alone, in its place, and, if asked for, what is lost without it."""
    from pytest_modelcheck.attribution import attribute
    from pytest_modelcheck.figures import attribution_figures
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.report.matrix import attribution_lines

    passes = pipeline(arguments.passes)
    model = load_model(arguments.file)
    with stdout_to_stderr():
        result = attribute(model, passes=passes, target=arguments.target, leave_one_out=arguments.leave_one_out)
    figures = attribution_figures(result)
    show(arguments, figures, attribution_lines(figures))
    return 1 if result.errors else 0
