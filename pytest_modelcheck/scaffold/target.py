"""A model of which a first test is written, as source text."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase

_LINE = 100


class TargetError(ModelCheckError):
    """Something of which no test can be written; the message says why, and what to write instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model, as source text that a test file can hold.

    Attributes:
        name: Of the model case.
        source: Python statements that define `build` and `inputs`, or import them; empty for a file.
        arguments: Of ``ModelCase(name, ...)``, or of ``ModelCase.from_onnx(...)``, as source.
        file: The .onnx file that the model is; None for a module.
        packages: What has to be installed for it, beside torch, by the names that pip knows.
        notes: What the author of the test should know, one sentence each.
    """

    name: str
    source: str
    arguments: tuple[str, ...]
    file: Path | None = None
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def identifier(self) -> str:
        """The name as a part of a Python name."""
        return re.sub(r"\W+", "_", self.name).strip("_").lower() or "model"

    def assignment(self, exporter: str, folder: Path | None = None) -> str:
        """``CASE = ModelCase(...)``, in one line where it fits.

        Args:
            exporter: That of a module.
            folder: Where the test is: a file is found from there, wherever pytest is started; None for the absolute
                path.
        """
        if self.file is not None:
            return f"CASE = ModelCase.from_onnx({_located(self.file, folder)})"
        arguments = [f'"{self.name}"', *self.arguments, f'exporter="{exporter}"']
        line = f"CASE = ModelCase({', '.join(arguments)})"
        return line if len(line) <= _LINE else "\n".join(["CASE = ModelCase(", *(f"    {a}," for a in arguments), ")"])

    def case(self, exporter: str) -> ModelCase:
        """The case that `assignment` makes."""
        namespace: dict[str, object] = {}
        exec(f"from pytest_modelcheck import ModelCase\n{self.source}\n{self.assignment(exporter)}", namespace)
        case = namespace["CASE"]
        assert isinstance(case, ModelCase)
        return case


def _located(file: Path, folder: Path | None) -> str:
    """The path of a file as source: from the test's folder, or absolute."""
    if folder is None:
        return _quoted(str(file.absolute()))
    steps = Path(os.path.relpath(file.absolute(), folder.absolute())).parts
    up = steps.count(os.pardir)
    return f"Path(__file__).parents[{up}] / {_quoted(Path(*steps[up:]).as_posix())}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
