"""Runtimes that cannot be installed beside torch lie in an environment of their own, made by one command.

``python -m pytest_modelcheck runtimes install litert`` makes it, once for each machine, in the user's cache folder
(``MODELCHECK_RUNTIMES`` names another one). Its versions are pinned here: what a converter makes is part of a test's
result. An environment whose pins are no longer these is not used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pytest_modelcheck.errors import ModelCheckError

FOLDER = "MODELCHECK_RUNTIMES"
"""The environment variable that names the folder of all environments."""

_MADE = "made.json"
"""Written last: a folder without it is the rest of an installation that was stopped."""


class InstallError(ModelCheckError):
    """An environment that could not be made; the message carries what the installer said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What is installed for a runtime, and by what.

    Attributes:
        name: Name of the runtime.
        kind: ``"python"``: a virtual environment, by pip; ``"node"``: a folder of packages, by npm.
        packages: Exact pins, the one whose version is the runtime's first: ``("onnxruntime-web@1.30.0",)``.
        python: The lowest version of CPython that the packages take.
        beside: A package of this Python that they must share, such as torch: what is installed here is visible there.
    """

    name: str
    kind: Literal["python", "node"]
    packages: tuple[str, ...]
    python: tuple[int, int] = (3, 11)
    beside: str = ""

    @property
    def command(self) -> str:
        """The one command that installs it."""
        return f"python -m pytest_modelcheck runtimes install {self.name}"

    @property
    def folder(self) -> Path:
        shared = (site.getsitepackages(), metadata.version(self.beside)) if self.beside else ()
        pins = hashlib.sha256(repr((self.kind, self.packages, *shared)).encode()).hexdigest()[:8]
        return _root() / f"{self.name}-{pins}"

    @property
    def installed(self) -> bool:
        return (self.folder / _MADE).is_file()

    @property
    def version(self) -> str:
        """The version that is pinned."""
        return self.packages[0].replace("==", "@").rpartition("@")[2]

    @property
    def interpreter(self) -> Path:
        """What runs a worker in it."""
        if self.kind == "python":
            return self.folder / "bin" / "python"
        return Path(json.loads((self.folder / _MADE).read_text(encoding="utf-8"))["node"])

    def install(self, python: str | None = None) -> None:
        """Make the environment; does nothing where it is there.

        Args:
            python: Interpreter to make it from, a command or a path; default: this one, or a newer one on the PATH.

        Raises:
            InstallError: without a suitable interpreter, or if the installer fails; nothing incomplete stays.
        """
        if self.installed:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            made = self._make_python(python) if self.kind == "python" else self._make_node()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        (self.folder / _MADE).write_text(json.dumps({**made, "packages": self.packages}), encoding="utf-8")

    def _make_python(self, python: str | None) -> Mapping[str, Any]:
        if self.beside and python is not None:
            raise InstallError(f"{self.name} shares {self.beside} with this Python: leave --python out")
        offered = (sys.executable,) if self.beside else _pythons(python)
        found = next((each for each in offered if _version(each) >= self.python), None)
        if found is None:
            wanted = ".".join(map(str, self.python))
            raise InstallError(
                f"{self.name} needs CPython {wanted} or newer, and {python or 'the PATH'} is none: "
                "name one with --python"
            )
        _run([found, "-m", "venv", str(self.folder)], self.name)
        if self.beside:
            (own,) = self.folder.glob("lib/python*/site-packages")
            (own / "beside.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
        _run([str(self.interpreter), "-m", "pip", "install", "--quiet", *self.packages], self.name)
        return {"python": found}

    def _make_node(self) -> Mapping[str, Any]:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is None or npm is None:
            raise InstallError(f"{self.name} needs node and npm, and the PATH has no {'npm' if node else 'node'}")
        # Without install scripts: none of the packages needs its own.
        _run([npm, "install", "--prefix", str(self.folder), "--ignore-scripts", "--no-fund", *self.packages], self.name)
        return {"node": node}


def _root() -> Path:
    if named := os.environ.get(FOLDER):
        return Path(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pytest-modelcheck" / "runtimes"


def _pythons(python: str | None) -> Iterator[str]:
    if python is not None:
        yield python
        return
    yield sys.executable
    for minor in range(12, 15):
        if found := shutil.which(f"python3.{minor}"):
            yield found


def _version(python: str) -> tuple[int, int]:
    """(major, minor); (0, 0) for a command that does not run, such as pyenv's shim of an inactive version."""
    script = "import sys; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    major, minor = done.stdout.split()
    return int(major), int(minor)


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InstallError(f"{name} could not be installed: {' '.join(command)} said {' '.join(said[-3:])!r}")
