"""Exports that are kept: taken from an earlier run where nothing that made them has changed."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.onnx._internal.torchscript_exporter import registration

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.export.exported import Exported, ExportFailure
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.store import Manifest, Store, Watch, library_versions, own_code, temporary_folder

MODEL_FILE = "model.onnx"

Make = Callable[[Path, Callable[[], None]], Exported | ExportFailure]
"""Exports into a folder; calls back once the forward has run."""


def kept_export(
    case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, store: Store | None, make: Make
) -> Exported | ExportFailure:
    """The export of an earlier run, or a new one, which is kept."""
    watch = Watch(case.build, handed_in(case, module, inputs))
    if store is None:
        made = make(temporary_folder(), lambda: None)
        return made if isinstance(made, ExportFailure) else dataclasses.replace(made, key=Manifest(values=watch.values))
    key = {"case": case.name, "exporter": case.exporter, "code": own_code("export")}
    why: list[str] = []

    def find() -> Exported | None:
        entry = store.find("export", key, watch, why)
        if entry is None:
            return None
        path, versions = entry.folder / MODEL_FILE, library_versions()
        kept = {"key": entry.depends, "versions": versions, "cached": True, **entry.value}
        return Exported(case=case, exporter=case.exporter, path=path, **kept)

    before = store.candidates("export", key)
    if (found := find()) is not None:
        return found
    with store.making("export", key) as scratch:
        if store.candidates("export", key) != before and (found := find()) is not None:
            return found  # another process made it meanwhile
        made = _made(make, scratch or temporary_folder(), watch)
        if isinstance(made, ExportFailure):
            return made
        reasons = tuple(f"cannot be compared between runs: {reason}" for reason in made.key.uncacheable)
        said = reasons or tuple(dict.fromkeys(why)) or ("no earlier export of this case is in the cache",)
        if scratch is not None and not reasons:
            value = {"seconds": made.seconds, "warnings": made.warnings}
            entry = store.keep("export", key, value, files=scratch, depends=made.key)
            if entry is not None:
                return dataclasses.replace(made, path=entry.folder / MODEL_FILE, why=said)
        if scratch is not None:  # its folder ends here
            folder = temporary_folder()
            for file in scratch.iterdir():
                shutil.move(file, folder / file.name)
            made = dataclasses.replace(made, path=folder / MODEL_FILE)
        return dataclasses.replace(made, why=(*said, *store.notes))


def _made(make: Make, folder: Path, watch: Watch) -> Exported | ExportFailure:
    watch.look()
    made = make(folder, watch.look)
    return made if isinstance(made, ExportFailure) else dataclasses.replace(made, key=watch.manifest())


def handed_in(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> dict[str, Any]:
    """What an export is made of, by name."""
    options: dict[str, Any] = {
        "exporter": case.exporter,
        "opset": case.opset,
        "dynamic_axes": {name: dict(axes) for name, axes in inputs.axes.items()},
        "dynamic_shapes": {name: {axis: repr(dim) for axis, dim in d.items()} for name, d in inputs.dims.items()},
        "output_names": None if case.output_names is None else list(case.output_names),
        **(_custom_symbolics() if case.exporter == "torchscript" else {}),
        **{f"export_options.{name}": value for name, value in case.export_options.items()},
    }
    return {
        "model": module,
        "example": {**inputs.as_dict(), "<arguments>": dict(inputs.arguments or {})},
        "build": case.build,
        "inputs": case.inputs,
        **{f"options.{name}": value for name, value in options.items()},
    }


def was_edited(exported: Exported, module: torch.nn.Module, inputs: ModuleInputs) -> bool:
    """Whether the module or its example inputs are no longer what was exported: a test can reach and edit both."""
    return Watch(None, handed_in(exported.case, module, inputs)).values != exported.key.values


def _custom_symbolics() -> dict[str, object]:
    """What the user registered for the torchscript exporter by `torch.onnx.register_custom_op_symbolic`."""
    return {
        f"custom symbolic {name} {opset}": function
        for name, group in sorted(registration.registry._registry.items())
        for opset, function in sorted(group._functions._overrides.items())
    }
