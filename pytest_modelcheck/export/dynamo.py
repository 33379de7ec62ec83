"""The default exporter: `torch.export`, decompositions, translation by onnxscript, its optimizer on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs, flat_forward, weight_bytes
from pytest_modelcheck.graph.files import LARGE_MODEL_BYTES
from pytest_modelcheck.model_case import ModelCase


def write(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, outputs: Sequence[str], path: Path) -> None:
    """Export `module` to `path`, large weights beside it in ``<name>.data``."""
    large = weight_bytes(module) > LARGE_MODEL_BYTES
    arguments: dict[str, Any] = {"verbose": False, "external_data": large, **case.export_options}
    if case.opset is not None:
        arguments["opset_version"] = case.opset
    if case.dynamic_axes:
        arguments.setdefault("dynamic_shapes", _dynamic_shapes(case, inputs))
    with flat_forward(case, module, inputs) as flat:
        torch.onnx.export(
            flat,
            inputs.values,
            str(path),
            dynamo=True,
            input_names=list(inputs.names),
            output_names=list(outputs),
            **arguments,
        )


def _dynamic_shapes(case: ModelCase, inputs: ModuleInputs) -> tuple[dict[int, torch.export.Dim] | None, ...]:
    """One entry per input, in order; equal names are one `Dim` object, and so one symbol in the model.

    `Dim.DYNAMIC` and plain names would give every input its own symbol unless the forward happens to relate them.
    """
    axes = case.dynamic_axes or {}
    dims = {name: torch.export.Dim(name) for by_axis in axes.values() for name in by_axis.values()}
    return tuple(
        {axis: dims[name] for axis, name in axes.get(input_name, {}).items()} or None for input_name in inputs.names
    )
