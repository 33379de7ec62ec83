"""What a run was: when, of which commit, by which command, with which versions."""

from __future__ import annotations

import datetime
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_GIT_SECONDS = 5


def about_run(root: Path, arguments: Sequence[str]) -> dict[str, str]:
    """The run's date (UTC), commit, command, Python and machine, as plain text.

    Args:
        root: The root directory of the run.
        arguments: pytest's.
    """
    now = datetime.datetime.now(datetime.UTC)
    return {
        "date": now.isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC"),
        "commit": commit(root),
        "command": shlex.join(["pytest", *arguments]),
        "python": f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
    }


def commit(root: Path) -> str:
    """The commit of the checkout, and whether files differ from it; ``"unknown"`` outside a git repository."""
    try:
        names = _git(root, "log", "-1", "--format=%h %s"), _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{names[0]} (with local changes)" if names[1] else names[0]


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    made = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=True)
    return made.stdout.strip()


def about_lines(about: Mapping[str, str], models: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What is shown of a run: its facts, and the versions of the libraries that its models were checked with."""
    versions: dict[str, dict[str, None]] = {}
    for model in models:
        for library, version in model.get("versions", {}).items():
            versions.setdefault(library, {})[version] = None
    shown = ", ".join(f"{library} {' and '.join(found)}" for library, found in versions.items())
    return [*((name, text) for name, text in about.items() if text), *([("versions", shown)] if shown else [])]
