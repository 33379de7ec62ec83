"""The default exporter: `torch.export`, decompositions, translation by onnxscript, its optimizer on."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch

from pytest_modelcheck.calling import ModuleInputs, flat_forward, weight_bytes
from pytest_modelcheck.calling.dynamic_shapes import dynamic_shapes, without_dims
from pytest_modelcheck.graph.files import LARGE_MODEL_BYTES
from pytest_modelcheck.model_case import ModelCase

_UNBOUNDED = 2**31
"""A dimension without a bound of its own has one above this (sympy's infinity, or the largest int64)."""


def write(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, outputs: Sequence[str], path: Path) -> None:
    """Export `module` to `path`, large weights beside it in ``<name>.data``."""
    large = weight_bytes(module) > LARGE_MODEL_BYTES
    arguments: dict[str, Any] = {"verbose": False, "external_data": large, **case.export_options}
    if case.opset is not None:
        arguments["opset_version"] = case.opset

    def run() -> torch.onnx.ONNXProgram | None:
        with flat_forward(case, module, inputs) as flat:
            return torch.onnx.export(
                flat,
                inputs.values,
                str(path),
                dynamo=True,
                input_names=list(inputs.names),
                output_names=list(outputs),
                **arguments,
            )

    if inputs.axes:
        arguments["dynamic_shapes"] = dynamic_shapes(inputs)
    try:
        program = run()
    except Exception as error:  # torch's class for a refused Dim is private; all others are raised again
        if (plain := without_dims(inputs, error)) is None:
            raise
        arguments["dynamic_shapes"] = plain
        program = run()
        names = ", ".join(dict.fromkeys(dim for by_axis in inputs.axes.values() for dim in by_axis.values()))
        warnings.warn(f"torch refuses Dim(name) for {names} and takes Dim.DYNAMIC: its guards hold", stacklevel=2)
    if program is not None and _rename_inner_values(program.model, outputs):
        program.save(
            path,
            include_initializers=arguments.get("export_params", True),
            keep_initializers_as_inputs=arguments.get("keep_initializers_as_inputs", False),
            external_data=arguments["external_data"],
        )
    if program is not None and program.exported_program is not None:
        _warn_of_bounds(case, inputs, program.exported_program)


def _rename_inner_values(model: ir.Model, outputs: Sequence[str]) -> bool:
    """Give inner values that are named like an output other names; whether there were any.

    torch 2.13 renames the outputs without a look at the other names: an output ``embedding`` of a model with an
    `Embedding` is declared twice, and the file is invalid.
    """
    own = set(model.graph.outputs)
    values = [value for node in model.graph.all_nodes() for value in node.outputs]
    taken = {value.name for value in values} | set(model.graph.initializers) | {v.name for v in model.graph.inputs}
    twice = [value for value in values if value.name in outputs and value not in own]
    for value in twice:
        number = next(number for number in itertools.count(1) if f"{value.name}_{number}" not in taken)
        value.name = f"{value.name}_{number}"
        taken.add(value.name)
    return bool(twice)


def _warn_of_bounds(case: ModelCase, inputs: ModuleInputs, program: torch.export.ExportedProgram) -> None:
    """Warn of dynamic dimensions for which the graph holds in a range only, e.g. up to a branch on the size.

    The exporter narrows them without a word, and the file cannot say so.
    """
    example = dict(zip(inputs.names, _user_inputs(program), strict=True))
    for name, axes in inputs.axes.items():
        for axis, dimension in axes.items():
            size = example[name].meta["val"].shape[axis]
            bounds = program.range_constraints.get(size.node.expr) if isinstance(size, torch.SymInt) else None
            if bounds is not None and (bounds.upper < _UNBOUNDED or bounds.lower > 1):
                warnings.warn(f"dimension {dimension!r} may be {bounds.lower} to {bounds.upper} only", stacklevel=2)


def _user_inputs(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    return [nodes[name] for name in program.graph_signature.user_inputs if isinstance(name, str)]
