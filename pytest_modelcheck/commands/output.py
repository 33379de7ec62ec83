"""What commands share: how they print, and the passes that ``--passes`` names."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.result import printable_line
from pytest_modelcheck.targets import TARGETS

if TYPE_CHECKING:
    from pytest_modelcheck.pipeline import AnyPass

DEFAULT = "default"
"""All passes of the default pipeline, in a list of names."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that every command with figures has."""
    parser.add_argument("--json", action="store_true", help="for machines")


def show(arguments: argparse.Namespace, figures: dict[str, Any], lines: Sequence[str]) -> None:
    """Print the figures with ``--json``, else the lines."""
    print(json.dumps(figures, indent=2) if arguments.json else "\n".join(map(printable_line, lines)))


def add_pipeline(parser: argparse.ArgumentParser) -> None:
    """Which passes, for which target."""
    parser.add_argument("--target", choices=TARGETS, default="portable")
    listed = f"names with commas between them, in order; {DEFAULT!r} is the default pipeline; repeatable"
    parser.add_argument("--passes", action="append", metavar="NAMES", help=listed)


def pipeline(given: Sequence[str] | None) -> Sequence[AnyPass] | None:
    """The passes that ``--passes`` names; None where it was not given: the default pipeline.

    Raises:
        OptionError: naming the pass that does not exist, or the package that is not installed.
    """
    from pytest_modelcheck.pipeline import as_passes

    if given is None:
        return None
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise OptionError("--passes names no pass")
    return [pass_ for name in names for pass_ in as_passes(None if name == DEFAULT else [name])]


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Keep what other people's optimizers print out of our output, which a machine may read."""
    sys.stdout.flush()
    saved = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
