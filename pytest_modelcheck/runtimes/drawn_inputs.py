"""Inputs for a model that came without any: drawn from what its signature says, which is less than its author knows.

1. A symbolic dimension is 2 as the first axis, 64 as a spatial axis of a 4-d float input, else 8; equal names are
   equal, and ``"past + sequence"`` is the sum of its parts.
2. Floats are N(0, 1); bools a coin; int8 and uint8 their whole range; wider integers 0 or 1, because any larger index
   could lie outside a table of the model; strings one of two words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from pytest_modelcheck.runtimes.ports import Array, FeedError, Port

FIRST_AXIS = 2
SPATIAL_AXIS = 64
OTHER_AXIS = 8

_WORDS = np.array(["alpha", "beta"], dtype=object)


class Takes(Protocol):
    """A session, or a signature that was read without one."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> tuple[Port, ...]: ...


def inputs_from_signature(model: Takes, seed: int, size: int | None = None) -> dict[str, Array]:
    """Arrays for every input of `model`; equal seeds give equal arrays.

    Args:
        model: Whose inputs are drawn.
        seed: Of the generator.
        size: The size of every dynamic dimension, named or not, in place of rule 1.

    Raises:
        FeedError: for an input that is not a tensor (a sequence, a map), or of a packed 4-bit type.
    """
    generator = np.random.default_rng(seed)
    return {port.name: _draw(port, shape, generator) for port, shape in _shapes(model, size)}


def _shapes(model: Takes, size: int | None) -> Iterator[tuple[Port, tuple[int, ...]]]:
    sizes: dict[str, int] = {}
    for port in model.inputs:
        if port.dtype is None:
            raise FeedError(f"{model.name}: input {port.name!r} is {port.type}: give the model case an inputs function")
        for axis, dimension in enumerate(port.shape):
            if isinstance(dimension, str) and "+" not in dimension:
                sizes.setdefault(dimension, _default_size(port, axis) if size is None else size)
    for port in model.inputs:
        yield port, tuple(_size(port, axis, sizes, size) for axis in range(len(port.shape)))


def _size(port: Port, axis: int, sizes: dict[str, int], unnamed: int | None) -> int:
    dimension = port.shape[axis]
    if isinstance(dimension, int):
        return dimension
    if dimension is None:
        return _default_size(port, axis) if unnamed is None else unnamed
    if dimension not in sizes:
        parts = [part.strip() for part in dimension.split("+")]
        sizes[dimension] = sum(int(part) if part.isdigit() else sizes.get(part, OTHER_AXIS) for part in parts)
    return sizes[dimension]


def _default_size(port: Port, axis: int) -> int:
    if axis == 0:
        return FIRST_AXIS
    return SPATIAL_AXIS if len(port.shape) == 4 and axis >= 2 and _kind(port) == "float" else OTHER_AXIS


def _kind(port: Port) -> str:
    if "float" in port.element or port.element == "double":
        return "float"
    if port.element in ("bool", "string"):
        return port.element
    return "byte" if port.element in ("int8", "uint8") else "index"


def _draw(port: Port, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    kind = _kind(port)
    if kind == "float":
        drawn: Array = np.asarray(generator.standard_normal(shape))
    elif kind == "string":
        drawn = np.asarray(_WORDS[generator.integers(0, 2, shape)])
    elif kind == "byte":
        low, high = (-128, 128) if port.element == "int8" else (0, 256)
        drawn = np.asarray(generator.integers(low, high, shape))
    else:
        drawn = np.asarray(generator.integers(0, 2, shape))
    return drawn.astype(port.dtype)
