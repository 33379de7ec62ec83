"""What a model takes and gives: names, types, shapes; and whether some feeds fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.result import close_match

Array = np.ndarray[Any, np.dtype[Any]]

STANDARD: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bool": np.dtype(np.bool_),
    "string": np.dtype(object),
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

EXTENDED: dict[str, np.dtype[Any]] = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
"""Types that numpy itself does not have; they travel as raw bits."""


class FeedError(ModelCheckError):
    """Inputs that do not fit a session: missing, unknown, or of another type or shape."""


@dataclass(frozen=True, slots=True)
class Port:
    """One declared input or output of a model.

    Attributes:
        name: Its name in the graph.
        type: The type as onnxruntime writes it: ``"tensor(int64)"``, ``"seq(tensor(float))"``.
        shape: Sizes; a dimension name where symbolic, None where unknown.
        most: The largest sizes that it takes; () where it sets no limit.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...]
    most: tuple[int, ...] = ()

    @property
    def element(self) -> str:
        """The element type of a tensor (``"int64"``); the whole type for anything else."""
        return self.type[len("tensor(") : -1] if self.type.startswith("tensor(") else self.type

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The numpy dtype of a tensor; None for sequences, maps and packed 4-bit types."""
        return STANDARD.get(self.element) or EXTENDED.get(self.element)

    def __str__(self) -> str:
        return f"{self.name!r} {self.element}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives.

    Attributes:
        name: What errors and findings call the model, e.g. ``"exported"``.
        inputs: Inputs that must be fed, in the order of the graph.
        outputs: Outputs in the order of the graph.
        overridable: Inputs with a default in the graph.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    overridable: tuple[Port, ...] = ()

    def checked(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """`feeds` as arrays, if they fit.

        Raises:
            FeedError: naming each misfit, and what the model takes.
        """
        ports = {port.name: port for port in (*self.inputs, *self.overridable)}
        problems = _name_problems([port.name for port in self.inputs], ports, feeds)
        arrays: dict[str, Array] = {}
        for name in (name for name in feeds if name in ports):
            array = np.asarray(feeds[name])
            arrays[name] = array.astype(object) if array.dtype.kind in "US" else array
            if problem := _misfit(ports[name], arrays[name]):
                problems.append(problem)
        if problems:
            takes = ", ".join(str(port) for port in self.inputs) or "no inputs"
            raise FeedError(f"{self.name}: {'; '.join(problems)}. The model takes {takes}")
        return arrays


def signature_of(model: str | Path | ir.Model, name: str | None = None) -> Signature:
    """The signature as the graph declares it. Reads no weights, and needs no runtime.

    Example:
        ``signature_of("bert.onnx").inputs[0]`` is ``Port("input_ids", "tensor(int64)", ("batch", "sequence"))``.
    """
    loaded = model if isinstance(model, ir.Model) else ir.load(model)
    fed = [value for value in loaded.graph.inputs if not value.is_initializer()]
    defaults = [value for value in loaded.graph.inputs if value.is_initializer()]
    return Signature(
        name or (loaded.graph.name if isinstance(model, ir.Model) else Path(model).name) or "model",
        tuple(map(_port, fed)),
        tuple(map(_port, loaded.graph.outputs)),
        tuple(map(_port, defaults)) if loaded.ir_version >= _WITH_DEFAULTS else (),
    )


_WITH_DEFAULTS = 4
"""IR version from which on an initializer that is also an input is a default; before it, every one had to be both."""


def _port(value: ir.Value) -> Port:
    shape = () if value.shape is None else tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    return Port(value.name or "", _type_text(value.type), shape)


def _type_text(type_: ir.TypeProtocol | None) -> str:
    if isinstance(type_, ir.SequenceType):
        return f"seq({_type_text(type_.elem_type)})"
    if isinstance(type_, ir.OptionalType):
        return f"optional({_type_text(type_.elem_type)})"
    return "unknown" if type_ is None else f"tensor({type_.dtype.name.lower()})"


def _name_problems(required: Sequence[str], known: Iterable[str], given: Mapping[str, Any]) -> list[str]:
    known = list(known)
    missing = [name for name in required if name not in given]
    unknown = [name for name in given if name not in known]
    problems = [f"input {name!r} is missing" for name in missing]
    problems += [f"unknown input {name!r}{close_match(name, missing or known)}" for name in unknown]
    return problems


def _misfit(port: Port, array: Array) -> str | None:
    if port.dtype is None:
        return f"input {port.name!r} has type {port.type}, which cannot be fed from an array"
    if array.dtype != port.dtype:
        return f"input {port.name!r} must be {port.element}, got {array.dtype}"
    fits = len(array.shape) == len(port.shape) and all(
        not isinstance(want, int) or want == got for want, got in zip(port.shape, array.shape, strict=True)
    )
    if not fits:
        return f"input {port.name!r} must have shape {list(port.shape)}, got {list(array.shape)}"
    if any(got > most for got, most in zip(array.shape, port.most, strict=False)):
        return f"input {port.name!r} must have at most the sizes {list(port.most)}, got {list(array.shape)}"
    return None
