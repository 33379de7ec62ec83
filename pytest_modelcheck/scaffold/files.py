"""The files of a first test: the test, a CI workflow, and the lines of an ini file."""

from __future__ import annotations

import tomllib
from pathlib import Path

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
        with: {python-version: "3.11", cache: pip}
      - run: pip install torch --index-url https://download.pytorch.org/whl/cpu
      # and what your models need, e.g. pip install -e .
      - run: pip install "pytest-modelcheck[onnxruntime]"
      - uses: actions/cache@v4
        with: {path: .modelcheck, key: "modelcheck-${{ github.sha }}", restore-keys: modelcheck-}
      - run: pytest --modelcheck --modelcheck-report=modelcheck.html
      - uses: actions/upload-artifact@v4
        if: always()
        with: {name: modelcheck, path: modelcheck.html}
"""


def source_of_test(target: Target, measured: Measured, *, locked: bool = True) -> str:
    """The source of the test: the model, the markers that hold, and one line that locks the rest, if `locked`."""
    source = target.source
    imports = [line for line in source.splitlines() if line.startswith(("import ", "from "))]
    body = "\n".join(line for line in source.splitlines() if line not in imports).strip("\n")
    lines = ['"""What the export of this model is, locked."""', "", "import pytest", *imports]
    lines += ["from pytest_modelcheck import ModelCase", ""]
    lines += ["", body, "", ""] if body else []
    lines += [target.assignment(measured.exporter), "", "", '@pytest.mark.parametrize("model_case", [CASE])']
    if not locked:
        return "\n".join([*lines, *measured.markers, f"def test_{target.identifier}_export(modelcheck): pass", ""])
    lines += [*measured.markers, f"def test_{target.identifier}_export(modelcheck, modelcheck_snapshot):"]
    lines += ["    assert modelcheck == modelcheck_snapshot"]
    if not target.from_file:
        lines.append(
            "    assert modelcheck.weights == modelcheck_snapshot  # leave this out where a checkpoint is retrained"
        )
    lines.append("")
    return "\n".join(lines)


def has_pytest_configuration(root: Path) -> bool:
    """Whether a file of `root` configures pytest already."""
    if any((root / name).is_file() for name in ("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg")):
        return True
    project = root / "pyproject.toml"
    return project.is_file() and "pytest" in tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})


def is_ignored(root: Path) -> bool:
    """Whether git leaves the kept exports out, or there is no git repository."""
    file = root / ".gitignore"
    listed = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return not (root / ".git").exists() or bool({IGNORED, IGNORED.rstrip("/"), f"/{IGNORED}"} & set(listed))
