"""``python -m pytest_modelcheck replay FILE``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_modelcheck.commands.output import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file that the gate wrote."""
    parser.add_argument("file", metavar="FILE")
    parser.add_argument(
        "--atol", type=float, metavar="TOLERANCE", help="judge by this tolerance instead of the kept one"
    )
    parser.add_argument("--rtol", type=float, metavar="TOLERANCE", help="as --atol, times the magnitude")
    parser.add_argument(
        "--script", metavar="DIR", type=Path, help="write model, arrays and a script without this package"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the worst input of a failed accuracy gate again; exit status 1 if it still differs."""
    from pytest_modelcheck.accuracy.replay import replay_figures, replay_lines, run_replay
    from pytest_modelcheck.accuracy.replay_script import write_script

    if arguments.script is not None:
        print(f"run: python {write_script(Path(arguments.file), arguments.script)}", file=sys.stderr)
    replay, comparison = run_replay(arguments.file, atol=arguments.atol, rtol=arguments.rtol)
    show(arguments, replay_figures(replay, comparison), replay_lines(replay, comparison))
    return 0 if comparison.passed else 1
