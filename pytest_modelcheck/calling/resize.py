"""The example inputs of a case at another size of one axis."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pytest_modelcheck.calling.inputs import ModuleInputs
from pytest_modelcheck.errors import ModelCaseError

_PLACE = re.compile(r"(?P<input>.+):(?P<axis>\d+)")


def resized(
    inputs: ModuleInputs, axis: str, size: int, dynamic_axes: Mapping[str, Mapping[int, str]] | None = None
) -> ModuleInputs:
    """`inputs` with `size` entries along `axis`: repeated, then cut, so that every index stays a valid one.

    Args:
        inputs: The example.
        axis: A dimension's name in `dynamic_axes`: every axis of that name changes. Or places, ``"input_ids:1"``,
            several of them with commas between.
        size: At least 1.
        dynamic_axes: Of the case: input name -> {axis: name}.

    Raises:
        ModelCaseError: if there is no such axis; the message names those there are.
    """
    values = inputs.as_dict()
    for name, number in _places(axis, dynamic_axes or {}):
        value = values.get(name)
        if value is None or number >= value.dim() or not value.shape[number]:
            known = ", ".join(f"{name} {list(value.shape)}" for name, value in values.items())
            raise ModelCaseError(f"axis {axis!r}: there is no axis {number} of {name!r} to resize; inputs: {known}")
        times = [-(-size // value.shape[number]) if index == number else 1 for index in range(value.dim())]
        values[name] = value.repeat(times).narrow(number, 0, size).clone()
    return replace(inputs, values=tuple(values[name] for name in inputs.names))


def _places(axis: str, dynamic_axes: Mapping[str, Mapping[int, str]]) -> Iterator[tuple[str, int]]:
    named = [
        (name, number) for name, axes in dynamic_axes.items() for number, dimension in axes.items() if dimension == axis
    ]
    if named:
        yield from named
        return
    for part in axis.split(","):
        match = _PLACE.fullmatch(part.strip())
        if match is None:
            known = sorted({dimension for axes in dynamic_axes.values() for dimension in axes.values()})
            has = f"its dynamic axes are {', '.join(known)}" if known else "the case has no dynamic_axes"
            raise ModelCaseError(f'axis {axis!r} is unknown: {has}; a place is written "input_ids:1"')
        yield match["input"], int(match["axis"])
