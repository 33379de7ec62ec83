"""What is checked around an exporter: options that cannot work, and results that are not what was asked for."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence

import onnx_ir as ir
import torch

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.calling.axes import is_unnamed, may_be_fixed
from pytest_modelcheck.dimensions import is_name, names_in, size_of
from pytest_modelcheck.export.exported import ExportFailure, FailureKind
from pytest_modelcheck.export.failures import failure
from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.model_case import ModelCase

_INSTEAD = {
    "model": "build=",
    "args": "inputs=",
    "kwargs": "inputs=",
    "f": "the path that export() gives",
    "dynamo": "exporter=",
    "input_names": "the names that inputs= gives",
    "output_names": "output_names=",
    "dynamic_axes": "dynamic_axes=",
    "dynamic_shapes": "dynamic_shapes=",
    "opset_version": "opset=",
}


def check_options(case: ModelCase, inputs: ModuleInputs) -> ExportFailure | None:
    """The first thing in the options of `case` that no exporter could do; None if there is none."""
    known = inspect.signature(torch.onnx.export).parameters
    for name in case.export_options:
        if name in _INSTEAD:
            reason = f"export_options holds {name!r}, which the model case sets itself"
            return failure(
                case, FailureKind.INVALID_OPTION, reason, next_step=f"use {_INSTEAD[name]} of ModelCase instead"
            )
        if name not in known:
            reason = f"torch.onnx.export has no option {name!r}"
            usable = ", ".join(sorted(set(known) - set(_INSTEAD)))
            return failure(case, FailureKind.INVALID_OPTION, reason, next_step=f"use one of: {usable}")
    option = "dynamic_axes" if case.dynamic_shapes is None else "dynamic_shapes"
    for reason in _wrong_axes(inputs, option):
        return failure(case, FailureKind.DYNAMIC_SHAPE, reason, next_step=f"correct {option}= or the example inputs")
    return None


def _wrong_axes(inputs: ModuleInputs, option: str) -> Iterator[str]:
    tensors = inputs.as_dict()
    sizes: dict[str, int] = {}
    named_by: dict[str, str] = {}
    placed = [(name, axis, dim) for name, axes in inputs.axes.items() for axis, dim in axes.items()]
    for name, axis, dimension in sorted(placed, key=lambda place: not is_name(place[2])):  # names before expressions
        if name not in tensors:
            yield f"{option} names the input {name!r}; the inputs are {', '.join(tensors)}"
            continue
        shape = tuple(tensors[name].shape)
        if not isinstance(axis, int) or not 0 <= axis < len(shape):
            yield f"{option} names axis {axis!r} of {name!r}, whose shape is {list(shape)}"
            continue
        size = shape[axis]
        if is_name(dimension):
            other = named_by.setdefault(dimension, name)
            if sizes.setdefault(dimension, size) != size:
                first = sizes[dimension]
                yield f"dimension {dimension!r} is {first} in {other!r} and {size} in {name!r}, so it is not one"
        elif all(part in sizes for part in names_in(dimension)) and (wanted := size_of(dimension, sizes)) != size:
            parts = ", ".join(f"{part} {sizes[part]}" for part in names_in(dimension))
            yield f"dimension {dimension!r} is {wanted} ({parts}), but axis {axis} of {name!r} has {size}"


def check_module(case: ModelCase, module: torch.nn.Module) -> ExportFailure | None:
    """Refuse a module that is compiled already: it has no names of submodules, and one exporter or none takes it."""
    compiled = "torch.jit.script or trace" if isinstance(module, torch.jit.ScriptModule) else None
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # 1.3 s to import, and loaded where a module was compiled
    compiled = "torch.compile" if dynamo and isinstance(module, dynamo.OptimizedModule) else compiled
    if compiled is None:
        return None
    step = f"let build() return the plain module, before {compiled}"
    return failure(case, FailureKind.BUILD_FAILED, f"build() returned the result of {compiled}", next_step=step)


def check_names(case: ModelCase, inputs: ModuleInputs, outputs: Sequence[str]) -> ExportFailure | None:
    """Refuse an output with the name of an input: in ONNX they are names in one space."""
    for name in outputs:
        if name in inputs.names:
            reason = f"the output {name!r} has the name of an input"
            step = "give one of them another name in forward, or leave the output out by output_names="
            return failure(case, FailureKind.OUTPUTS_FAILED, reason, next_step=step)
    return None


def check_result(
    case: ModelCase, model: ir.Model, inputs: ModuleInputs, outputs: Sequence[str]
) -> ExportFailure | None:
    """The first way in which `model` is not what was asked for: no node, other outputs or opset, a fixed axis."""
    graph = model.graph
    if count_nodes(model, constants=True) == 0:
        reason = "the exported graph has no node: the forward gives back its inputs or constants only"
        return failure(case, FailureKind.INVALID_MODEL, reason, next_step="export a module that computes something")
    names = [value.name for value in graph.outputs]
    if names != list(outputs):
        reason = f"the exported graph has the outputs {', '.join(map(str, names))}, asked for were {', '.join(outputs)}"
        return failure(case, FailureKind.INVALID_MODEL, reason, next_step="return each tensor once from forward")
    if strangers := [value.name for value in graph.inputs if value.name not in inputs.names]:
        reason = f"the exported graph has inputs that the case has not: {', '.join(map(str, strangers))}"
        return failure(case, FailureKind.INVALID_MODEL, reason, next_step="give the inputs names that are identifiers")
    opset = model.opset_imports.get("")
    if case.opset is not None and opset != case.opset:
        reason = f"the exporter was asked for opset {case.opset} and gave {opset}: it could not convert the model"
        return failure(case, FailureKind.INVALID_OPTION, reason, next_step=f"leave opset= out, or set it to {opset}")
    option = "dynamic_axes" if case.dynamic_shapes is None else "dynamic_shapes"
    for value in graph.inputs:
        for axis, dimension in inputs.axes.get(value.name or "", {}).items():
            found = None if value.shape is None else value.shape[axis]
            asked = inputs.dims.get(value.name or "", {}).get(axis)
            if isinstance(found, int) and not may_be_fixed(asked):
                reason = f"axis {axis} ({dimension!r}) of input {value.name!r} came out fixed at {found}"
                step = f"keep forward from depending on that size, or leave {dimension!r} out of {option}"
                return failure(case, FailureKind.DYNAMIC_SHAPE, reason, next_step=step)
    return None


def merged_dimensions(model: ir.Model, inputs: ModuleInputs) -> tuple[str, ...]:
    """Dynamic axes that came out under another name than the case gave: the forward makes two dimensions one."""
    merged = []
    for value in model.graph.inputs:
        for axis, wanted in inputs.axes.get(value.name or "", {}).items():
            found = None if value.shape is None else str(value.shape[axis])
            unnamed = is_unnamed(inputs.dims.get(value.name or "", {}).get(axis))
            if found != wanted and not unnamed:
                merged.append(f"dimension {wanted!r} of {value.name!r} came out as {found!r}")
    return tuple(merged)


def unread_inputs(model: ir.Model, inputs: ModuleInputs) -> tuple[str, ...]:
    """Inputs of the case that the exported graph does not have, or has and does not read."""
    read = {value.name for value in model.graph.inputs if value.uses() or value.is_graph_output()}
    return tuple(name for name in inputs.names if name not in read)
