"""The files of a first test: the test, a CI workflow, and the lines of an ini file."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_modelcheck.scaffold.measured import Measured
from pytest_modelcheck.scaffold.target import Target

IGNORED = ".modelcheck/"
"""The folder of kept exports, relative to the root of a project."""

WORKFLOW = """\
# Fails a pull request that changes what is exported. After a change that is meant:
#   pytest --modelcheck --snapshot-update, review the difference under snapshots/, commit it.
name: modelcheck
on: [push, pull_request]
permissions:
  contents: read
jobs:
  modelcheck:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "PYTHON", cache: pip}
      # The versions that the snapshots were recorded with. Raise them in a pull request, which shows what changes.
      - run: pip install torch==VERSION --index-url https://download.pytorch.org/whl/cpu
      # and what your models need, e.g. pip install -e .
      - run: pip install "pytest-modelcheck[onnxruntime]"
      - uses: actions/cache@v4
        with: {path: .modelcheck, key: "modelcheck-${{ github.sha }}", restore-keys: modelcheck-}
      - run: pytest --modelcheck --modelcheck-report=modelcheck.html
      - uses: actions/upload-artifact@v4
        if: always()
        with: {name: modelcheck, path: modelcheck.html}
"""


_NEEDS = "      # and what your models need, e.g. pip install -e .\n"
_INSTALLED = 'pip install "pytest-modelcheck[onnxruntime]"'


def workflow(target: Target, root: Path) -> str:
    """The workflow for a model: what the project and the model need is installed, in the versions that are here.

    Args:
        target: The model.
        root: The project: a package, or a folder with a ``requirements.txt``, or neither.
    """
    text = WORKFLOW.replace("PYTHON", f"{sys.version_info.major}.{sys.version_info.minor}")
    text = text.replace("torch==VERSION", _pinned("torch"))
    if target.packages:
        text = text.replace(_INSTALLED, " ".join([_INSTALLED, *map(_pinned, target.packages)]))
    if (root / "setup.py").is_file() or _table(root, "project"):
        return text.replace(_NEEDS, "      - run: pip install -e .\n")
    if (root / "requirements.txt").is_file():
        return text.replace(_NEEDS, "      - run: pip install -r requirements.txt\n")
    return text.replace(_NEEDS, "") if target.packages or target.file else text


def _pinned(package: str) -> str:
    """The installed version as pip asks for it: ``2.13.0+cpu`` is 2.13.0 of another index."""
    return f"{package}=={metadata.version(package).partition('+')[0]}"


def source_of_test(target: Target, measured: Measured, *, locked: bool = True, folder: Path | None = None) -> str:
    """The source of the test: the model, the markers that hold, and one line that locks the rest, if `locked`.

    Args:
        target, measured: The model, and what holds for it.
        locked: Whether a line locks the rest.
        folder: Where the test is, from which it finds a file; None for an absolute path.
    """
    source = target.source
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    body = "\n".join(line for line in source.splitlines() if line not in imports).strip("\n")
    lines = ['"""What the export of this model is, locked."""', ""]
    lines += ["from pathlib import Path", ""] if target.file and folder else []
    lines += ["import pytest", *imports]
    lines += ["from pytest_modelcheck import ModelCase", ""]
    lines += ["", body, "", ""] if body else []
    lines += [target.assignment(measured.exporter, folder), "", "", '@pytest.mark.parametrize("model_case", [CASE])']
    if not locked:
        return "\n".join([*lines, *measured.markers, f"def test_{target.identifier}_export(modelcheck): pass", ""])
    lines += [*measured.markers, f"def test_{target.identifier}_export(modelcheck, modelcheck_snapshot):"]
    lines += ["    assert modelcheck == modelcheck_snapshot"]
    if target.file is None:
        lines.append(
            "    assert modelcheck.weights == modelcheck_snapshot  # leave this out where a checkpoint is retrained"
        )
    lines.append("")
    return "\n".join(lines)


def has_pytest_configuration(root: Path) -> bool:
    """Whether a file of `root` configures pytest already."""
    if any((root / name).is_file() for name in ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg")):
        return True
    return "pytest" in _table(root, "tool")


def _table(root: Path, name: str) -> dict[str, Any]:
    """A table of the project's pyproject.toml; empty without one."""
    project = root / "pyproject.toml"
    found = tomllib.loads(project.read_text(encoding="utf-8")).get(name, {}) if project.is_file() else {}
    return found if isinstance(found, dict) else {}


def is_ignored(root: Path) -> bool:
    """Whether git leaves the kept exports out, or there is no git repository."""
    file = root / ".gitignore"
    listed = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return not (root / ".git").exists() or bool({IGNORED, IGNORED.rstrip("/"), f"/{IGNORED}"} & set(listed))
