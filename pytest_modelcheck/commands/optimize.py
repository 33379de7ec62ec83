"""``python -m pytest_modelcheck optimize FILE [OUTPUT]``."""

from __future__ import annotations

import argparse
import warnings

from pytest_modelcheck.commands.output import add_json, add_pipeline, pipeline, show, stdout_to_stderr
from pytest_modelcheck.errors import OptionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, where the result goes, and the pipeline."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("output", nargs="?", help="default: FILE.optimized.onnx beside FILE")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="run every pass's result on drawn inputs, and undo rewrites that change a value",
    )
    parser.add_argument("--sizes", metavar="AXIS=N,...", help="freeze dynamic axes, e.g. batch=1,sequence=128")
    add_pipeline(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the pipeline and write the result; nothing is written if a pass fails."""
    from pytest_modelcheck.pipeline import ConversionWarning, optimize_file

    with stdout_to_stderr(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConversionWarning)
        written = optimize_file(
            arguments.file,
            passes=pipeline(arguments.passes),
            target=arguments.target,
            sizes=_sizes(arguments.sizes),
            output=arguments.output,
            verify=arguments.verify,
        )
    before, after = written.nodes_before, written.nodes_after
    said = [str(warning.message) for warning in caught]
    figures = {"file": str(written.path), "nodes": {"before": before, "after": after}, "warnings": said}
    show(arguments, figures, [f"{written.path}: {before} -> {after} nodes", *said])
    return 0


def _sizes(text: str | None) -> dict[str, int]:
    """Raises OptionError for what is no ``name=number``."""
    sizes = {}
    for part in (text or "").split(",") if text is not None else ():
        name, _, number = part.strip().partition("=")
        if not name or not number.isdecimal():
            raise OptionError(f"--sizes {part.strip()!r} must be AXIS=N, e.g. batch=1,sequence=128")
        sizes[name] = int(number)
    return sizes
