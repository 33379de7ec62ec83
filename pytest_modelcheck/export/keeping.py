"""Exports that are kept: taken from an earlier run where nothing that made them has changed."""

from __future__ import annotations

import dataclasses
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
    failed: list[ExportFailure] = []

    def run(folder: Path) -> dict[str, Any] | None:
        made = make(folder, watch.look)
        if isinstance(made, ExportFailure):
            failed.append(made)
            return None
        return {"seconds": made.seconds, "warnings": made.warnings}

    key = {"case": case.name, "exporter": case.exporter, "code": own_code("export")}
    entry = store.get("export", key, run, lambda value: value is not None, watch)
    if failed:
        return failed[0]
    uncacheable = tuple(f"cannot be compared between runs: {reason}" for reason in entry.depends.uncacheable)
    why = (uncacheable or entry.why or ("no earlier export of this case is in the cache",)) if not entry.taken else ()
    return Exported(
        case=case,
        exporter=case.exporter,
        path=entry.folder / MODEL_FILE,
        key=entry.depends,
        cached=entry.taken,
        why=(*why, *(() if entry.kept else store.notes)),
        versions=library_versions(),
        **entry.value,
    )


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
        if not name.startswith("::")  # torch's own, of the autograd functions of a model that it has exported
    }
