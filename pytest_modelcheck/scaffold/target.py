"""A model of which a first test is written, as source text."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
        from_file: Whether the model is an .onnx file.
        notes: What the author of the test should know, one sentence each.
    """

    name: str
    source: str
    arguments: tuple[str, ...]
    from_file: bool = False
    notes: tuple[str, ...] = ()

    @property
    def identifier(self) -> str:
        """The name as a part of a Python name."""
        return re.sub(r"\W+", "_", self.name).strip("_").lower() or "model"

    def assignment(self, exporter: str) -> str:
        """``CASE = ModelCase(...)``, in one line where it fits."""
        if self.from_file:
            return f"CASE = ModelCase.from_onnx({', '.join(self.arguments)})"
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
