"""``python -m pytest_modelcheck replay FILE``."""

from __future__ import annotations

import argparse

from pytest_modelcheck.commands.output import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file that the gate wrote."""
    parser.add_argument("file", metavar="FILE")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the worst input of a failed accuracy gate again; exit status 1 if it still differs."""
    from pytest_modelcheck.accuracy.replay import replay_figures, replay_lines, run_replay

    replay, comparison = run_replay(arguments.file)
    show(arguments, replay_figures(replay, comparison), replay_lines(replay, comparison))
    return 0 if comparison.passed else 1
