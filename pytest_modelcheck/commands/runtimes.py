"""``python -m pytest_modelcheck runtimes``: which runtimes there are, and what each can do here.

``runtimes install NAME`` makes the environment of one that cannot be installed beside torch.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.commands.output import add_json, show
from pytest_modelcheck.errors import OptionError

if TYPE_CHECKING:
    from pytest_modelcheck.runtimes import Runtime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The form of the output; what to install."""
    add_json(parser)
    install = parser.add_subparsers(dest="action").add_parser("install", help="make the environment of a runtime")
    install.add_argument("runtime", help="its name, e.g. litert")
    install.add_argument("--python", help="interpreter to make it from; default: this one, or a newer one on the PATH")


def run(arguments: argparse.Namespace) -> int:
    """List the runtimes, with version and providers or how to install one; `install NAME` makes an environment."""
    if arguments.action == "install":
        return _install(arguments.runtime, arguments.python)
    figures = runtime_figures()
    show(arguments, figures, runtime_lines(figures))
    return 0


def _install(name: str, python: str | None) -> int:
    from pytest_modelcheck.runtimes import runtime_named

    runtime = runtime_named(name)
    if runtime.environment is None:
        raise OptionError(f"{name} needs no environment of its own: {runtime.install}")
    runtime.environment.install(python)
    print(f"{name} {runtime.version()} is in {runtime.environment.folder}")
    return 0


def runtime_figures() -> dict[str, Any]:
    """Name -> version and providers, or the one command that installs it."""
    from pytest_modelcheck.runtimes import RUNTIMES

    return {runtime.name: _figures(runtime) for runtime in RUNTIMES}


def runtime_lines(figures: dict[str, Any]) -> list[str]:
    """One line per runtime."""
    width = max(map(len, figures))
    return [f"{name:<{width}}  {_line(entry)}" for name, entry in figures.items()]


def _figures(runtime: Runtime) -> dict[str, Any]:
    if not runtime.installed:
        return {"installed": False, "install": runtime.install}
    shows = {
        "optimizer": runtime.levels,
        "its own graph": runtime.optimize is not None,
        "single rewrites": runtime.rewrites is not None,
        "profile": runtime.profile is not None,
    }
    return {
        "installed": True,
        "version": runtime.version(),
        "providers": list(runtime.providers()),
        "dtypes": sorted(runtime.dtypes),
        "shows": [name for name, has in shows.items() if has],
    }


def _line(entry: dict[str, Any]) -> str:
    if not entry["installed"]:
        return f"not installed: {entry['install']}"
    shows = f"; {', '.join(entry['shows'])}" if entry["shows"] else ""
    return f"{entry['version']} on {', '.join(entry['providers'])}{shows}"
