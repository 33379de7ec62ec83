"""The library from the shell, for plain .onnx files: ``python -m pytest_modelcheck attribute model.onnx``."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from importlib import metadata

from pytest_modelcheck.commands import COMMANDS
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.result import printable


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_modelcheck", description=__doc__)
    version = f"pytest-modelcheck {metadata.version('pytest-modelcheck')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"pytest_modelcheck.commands.{name}")
        summary = (module.run.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


class _Printable(logging.Formatter):
    """Lines of a log without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 for a difference or a failed pass, 2 for bad input."""
    arguments = _parser().parse_args(argv)
    importlib.import_module("pytest_modelcheck.late_sympy")  # before the command imports onnx_ir
    if isinstance(logging.lastResort, logging.Handler):  # what libraries log of a model holds its names
        logging.lastResort.setFormatter(_Printable())
    try:
        status: int = arguments.run(arguments)
    except (ModelCheckError, OSError) as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
