"""The example inputs of a case at another size of one axis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from pytest_modelcheck.calling.inputs import ModuleInputs
from pytest_modelcheck.dimensions import Axes, is_name, names_in, size_of
from pytest_modelcheck.errors import ModelCaseError

_PLACE = re.compile(r"(?P<input>.+):(?P<axis>\d+)")


def resized(
    inputs: ModuleInputs, axis: str, size: int, dynamic_axes: Mapping[str, Mapping[int, str]] | None = None
) -> ModuleInputs:
    """`inputs` with `size` entries along `axis`: repeated, then cut, so that every index stays a valid one.

    Args:
        inputs: The example.
        axis: A dimension's name in `dynamic_axes`: every axis of that name changes, and those whose size follows from
            it (`dimensions`). Or places, ``"input_ids:1"``,
            several of them with commas between.
        size: At least 1.
        dynamic_axes: Of the case: input name -> {axis: name}.

    Raises:
        ModelCaseError: if there is no such axis; the message names those there are.
    """
    values = inputs.as_dict()
    for name, number, wanted in _places(axis, size, values, dynamic_axes or {}):
        value = values.get(name)
        if value is None or number >= value.dim() or not value.shape[number]:
            known = ", ".join(f"{name} {list(value.shape)}" for name, value in values.items())
            raise ModelCaseError(f"axis {axis!r}: there is no axis {number} of {name!r} to resize; inputs: {known}")
        times = [-(-wanted // value.shape[number]) if index == number else 1 for index in range(value.dim())]
        values[name] = value.repeat(times).narrow(number, 0, wanted).clone()
    return replace(inputs, values=tuple(values[name] for name in inputs.names))


def _places(
    axis: str, size: int, values: Mapping[str, torch.Tensor], dynamic_axes: Axes
) -> Iterator[tuple[str, int, int]]:
    """(input, axis, new size) of everything that changes."""
    placed = [(name, number, dimension) for name, axes in dynamic_axes.items() for number, dimension in axes.items()]
    if axis in {dimension for _, _, dimension in placed if is_name(dimension)}:
        shapes = ((name, number, dimension) for name, number, dimension in placed if is_name(dimension))
        sizes = {dimension: values[name].shape[number] for name, number, dimension in shapes} | {axis: size}
        yield from (
            (name, number, size_of(dimension, sizes))
            for name, number, dimension in placed
            if axis in names_in(dimension)
        )
        return
    for part in axis.split(","):
        match = _PLACE.fullmatch(part.strip())
        if match is None:
            known = sorted({dimension for _, _, dimension in placed})
            has = f"its dynamic axes are {', '.join(known)}" if known else "the case has no dynamic_axes"
            raise ModelCaseError(f'axis {axis!r} is unknown: {has}; a place is written "input_ids:1"')
        yield match["input"], int(match["axis"]), size
