"""``python -m pytest_modelcheck fusion MODULE:CASE``: the report of one model case."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from pytest_modelcheck.commands.output import add_json, show
from pytest_modelcheck.errors import ModelCheckError, OptionError
from pytest_modelcheck.model_case import ModelCase


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The case, and the picture of one module."""
    parser.add_argument("case", metavar="MODULE:CASE")
    parser.add_argument("--picture", metavar="FILE.svg", help="draw the fused subgraphs of one module")
    parser.add_argument("--module", default="", metavar="PATH", help="which one; default: the first attention")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the fused subgraphs of a model case, named as package.module:NAME."""
    picture = None if arguments.picture is None else Path(arguments.picture)
    figures, lines = fusion_of(arguments.case, picture=picture, module=arguments.module)
    show(arguments, figures, lines)
    return 0


def fusion_of(address: str, *, picture: Path | None = None, module: str = "") -> tuple[dict[str, Any], list[str]]:
    """Capture and partition the case at `address`; its figures for machines, and its lines for a terminal.

    Args:
        address: See `find_case`.
        picture: Where to write the SVG picture of one module's subgraphs.
        module: Path of that module; default: the first attention layer's, or the first module with a fused subgraph.

    Raises:
        ModelCheckError: if there is no such case, or it cannot be captured.
    """
    from pytest_modelcheck.capture import CaptureFailure, capture
    from pytest_modelcheck.commands.fusion_listing import report_figures, report_lines
    from pytest_modelcheck.fusion.picture import fusion_svg, pictured_owner
    from pytest_modelcheck.fusion.views import analyse

    captured = capture(find_case(address))
    if isinstance(captured, CaptureFailure):
        raise ModelCheckError(captured.render())
    report = analyse(captured)
    lines = report_lines(report)
    if picture is not None:
        owner = module or pictured_owner(report)
        picture.write_text(fusion_svg(report, owner), encoding="utf-8")
        lines.append(f"\n{picture}: the subgraphs of {owner or 'the root module'}")
    return report_figures(report), lines


def find_case(address: str) -> ModelCase:
    """The case at ``package.module:NAME``; modules are also looked for in the working directory.

    NAME is a `ModelCase`, a function without arguments that gives one, or a tuple of cases; ``NAME.2`` is the third of
    a tuple, ``NAME`` its first.

    Raises:
        OptionError: saying what is wrong with the address.
    """
    name, separator, attribute = address.partition(":")
    if not separator or not attribute:
        raise OptionError(f"{address!r} is not an address of a model case; write package.module:NAME")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise OptionError(f"{address!r}: {error}") from error
    for part in attribute.split("."):
        try:
            found = found[int(part)] if part.isdigit() else getattr(found, part)
        except (AttributeError, IndexError, KeyError, TypeError):
            raise OptionError(f"{address!r}: {name} has no {attribute}") from None
    if callable(found) and not isinstance(found, ModelCase):
        found = found()
    if isinstance(found, list | tuple) and found:
        found = found[0]
    if not isinstance(found, ModelCase):
        raise OptionError(f"{address!r} is a {type(found).__name__}, not a ModelCase")
    return found
