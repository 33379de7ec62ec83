"""The pages of docs/ that change the package: their files, lines and tests, in a copy of it."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest_modelcheck

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Page:
    """One page below docs/."""

    name: str

    @property
    def text(self):
        return (ROOT / "docs" / self.name).read_text(encoding="utf-8")

    def blocks(self, language):
        return re.findall(rf"```{language}\n(.*?)```", self.text, flags=re.DOTALL)

    def copy_of_the_package(self, root, file, registry):
        """The package below `root` with the page's first Python block as `file` and its first diffs in `registry`."""
        copy = root / "pytest_modelcheck"
        shutil.copytree(Path(pytest_modelcheck.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / file).write_text(self.blocks("python")[0], encoding="utf-8")
        make_diffs(copy / registry, self.blocks("diff")[:2])


def make_diffs(file, diffs):
    """Make changes in `file`: the lines of each diff that stay have to stand there once."""
    text = file.read_text(encoding="utf-8")
    for block in diffs:
        kept = "".join(line[1:] for line in block.splitlines(keepends=True) if line[0] == " ")
        assert text.count(kept) == 1, f"{file.name} does not have these lines once:\n{kept}"
        text = text.replace(kept, "".join(line[1:] for line in block.splitlines(keepends=True)))
    file.write_text(text, encoding="utf-8")


def run(root, *arguments):
    """Python in `root`, whose copy of the package is the one that it imports."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
