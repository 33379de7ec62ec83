"""One change made to one model, and what the locked kinds say of it."""

from __future__ import annotations

import functools
import linecache
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.export import Exported
from pytest_modelcheck.snapshots.kinds import KINDS
from pytest_modelcheck.snapshots.text import SnapshotText
from tests.regressions.files import CannotBeMadeError

MODELS = Path(__file__).parent / "models"
LOCKED = ("interface", "modules", "numbers")
"""What `assert modelcheck == modelcheck_snapshot` compares, less what depends on our own passes and rules."""

Verdict = Literal["red", "harmless", "graph", "blind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One change.

    Attributes:
        model: File of `models/` without its suffix.
        name: What the change is, in a few words.
        edits: (old, new) texts in the model's source; the old one is there once.
        options: Options of the case that differ.
        file: What a tool does to the exported file, instead.
        verdict: ``red``; ``harmless``; ``graph``: harmless, but the graph really changed, so `modules` may say it;
            ``blind``: a change that these kinds cannot see, by nature.
        words: What the messages must hold, each; of a blind row, why.
        kinds: The kinds that are asked.
        exporters: By which it is exported.
    """

    model: str
    name: str
    edits: tuple[tuple[str, str], ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    file: Any = None
    verdict: Verdict = "red"
    words: tuple[str, ...] = ()
    kinds: tuple[str, ...] = LOCKED
    exporters: tuple[str, ...] = ("torchscript",)

    def __str__(self) -> str:
        return f"{self.model}: {self.name}"


def model_case(name: str, exporter: str, edits: tuple[tuple[str, str], ...] = (), **options: Any) -> ModelCase:
    """The case of a model whose source was edited."""
    path = MODELS / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    for old, new in edits:
        assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in {path.name}"
        source = source.replace(old, new)
    key = f"<regression {name} {hash(source)}>"
    linecache.cache[key] = (len(source), None, source.splitlines(keepends=True), key)
    module = types.ModuleType(f"regression_{name}")
    exec(compile(source, key, "exec"), module.__dict__)
    return ModelCase(name, module.build, module.inputs, exporter=exporter, **{**module.OPTIONS, **options})


@functools.cache
def unchanged(model: str, exporter: str) -> ModelCheck:
    """The check of a model as it is."""
    return ModelCheck(model_case(model, exporter))


@functools.cache
def recorded(model: str, exporter: str, kind: str, from_file: bool) -> str:
    """What is locked of a model as it is; of its exported file alone for a change to the file."""
    check = file_check(model, exporter) if from_file else unchanged(model, exporter)
    return _kind(kind).render(getattr(check, kind))


@functools.cache
def file_check(model: str, exporter: str) -> ModelCheck:
    """The check of a model's exported file, as somebody gets it who has only the file."""
    return ModelCheck(ModelCase.from_onnx(exported_path(model, exporter)))


def exported_path(model: str, exporter: str) -> Path:
    """The file of a model as it is."""
    made = unchanged(model, exporter).exported
    assert isinstance(made, Exported)
    return made.path


def said(row: Row, exporter: str, folder: Path) -> dict[str, str]:
    """Kind -> its message, of the kinds that say something."""
    if row.file is None:
        check = ModelCheck(model_case(row.model, exporter, row.edits, **row.options))
    else:
        check = ModelCheck(ModelCase.from_onnx(changed_file(row, exporter, folder)))
    messages = {}
    for kind in row.kinds:
        body = recorded(row.model, exporter, kind, row.file is not None)
        if message := _message(kind, body, getattr(check, kind)):
            messages[kind] = message
    return messages


def changed_file(row: Row, exporter: str, folder: Path) -> Path:
    """The exported file after a tool changed it."""
    proto = onnx.load(exported_path(row.model, exporter))
    try:
        row.file(proto)
    except (LookupError, StopIteration) as error:
        raise CannotBeMadeError(f"{row.file.__name__} finds no place: {error}") from error
    path = folder / "changed.onnx"
    onnx.save(proto, path)
    return path


def _message(name: str, body: str, result: object) -> str:
    kind = _kind(name)
    change = kind.change(SnapshotText({}, body, kind.format), result)
    if change is not None:
        return "\n".join([change.found, *change.where]) if change.found else ""
    return "\n".join(kind.differences(body, kind.render(result)))


def _kind(name: str) -> Any:
    return next(kind for kind in KINDS if kind.name == name)
