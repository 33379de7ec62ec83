"""Dynamic axes as torch.export takes them."""

from __future__ import annotations

import re
from typing import Any

import torch

from pytest_modelcheck.calling.inputs import ModuleInputs
from pytest_modelcheck.dimensions import is_name

Shapes = tuple[dict[int, Any] | None, ...]
"""Axis -> dimension, one entry for each input."""


def dynamic_shapes(inputs: ModuleInputs) -> Shapes:
    """One entry per input, in order; equal names are one `Dim` object, and so one symbol in the model.

    `Dim.DYNAMIC` and plain names would give every input its own symbol unless the forward happens to relate them. An
    expression stays a string, which the exporter takes for `Dim.DYNAMIC`: the forward relates its size to the others.
    What the case gives as torch's own objects goes to torch as it is.
    """
    dims = {
        dimension: torch.export.Dim(dimension) if is_name(dimension) else dimension
        for by_axis in inputs.axes.values()
        for dimension in by_axis.values()
    }
    named = {name: {axis: dims[dim] for axis, dim in by_axis.items()} for name, by_axis in inputs.axes.items()}
    return tuple({**named.get(name, {}), **inputs.dims.get(name, {})} or None for name in inputs.names)


def without_dims(inputs: ModuleInputs, error: Exception) -> Shapes | None:
    """The same in plain names, where torch's own guards contradict `Dim` objects, whose range they would narrow.

    A size that the forward makes a constant is refused either way: None then, and for what the case gives itself.

    Args:
        inputs: The inputs.
        error: What torch raised at `dynamic_shapes`.
    """
    if inputs.dims or not inputs.axes or not _is_refused_by_name(error):
        return None
    return tuple(dict(inputs.axes.get(name, {})) or None for name in inputs.names)


def _is_refused_by_name(error: BaseException | None) -> bool:
    while error is not None:
        said = str(error)
        if re.search(r"Constraints? violated|ConstraintViolation", said):
            return "specialized" not in said and "marked as dynamic but" not in said
        error = error.__cause__ or error.__context__
    return False
