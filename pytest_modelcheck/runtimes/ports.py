"""What a session takes and gives: names, types, shapes; arrays to onnxruntime's values and back."""

from __future__ import annotations

import ctypes
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort

from pytest_modelcheck.errors import ModelCheckError

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
"""Types that onnxruntime's numpy bridge does not know; they travel as raw bits."""

_ELEMENT_TYPE = {
    "bfloat16": onnx.TensorProto.BFLOAT16,
    "float8e4m3fn": onnx.TensorProto.FLOAT8E4M3FN,
    "float8e4m3fnuz": onnx.TensorProto.FLOAT8E4M3FNUZ,
    "float8e5m2": onnx.TensorProto.FLOAT8E5M2,
    "float8e5m2fnuz": onnx.TensorProto.FLOAT8E5M2FNUZ,
}


class SessionError(ModelCheckError):
    """A session that onnxruntime refuses to make, or whose run fails."""


class FeedError(ModelCheckError):
    """Inputs that do not fit a session: missing, unknown, or of another type or shape."""


@dataclass(frozen=True, slots=True)
class Port:
    """One declared input or output of a session.

    Attributes:
        name: Its name in the graph.
        type: onnxruntime's name for the type: ``"tensor(int64)"``, ``"seq(tensor(float))"``.
        shape: Sizes; a dimension name where symbolic, None where unknown.
    """

    name: str
    type: str
    shape: tuple[int | str | None, ...]

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


# -- inputs ------------------------------------------------------------------------------------------------------------


def as_array(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind in "US" else array


def name_problems(required: Sequence[str], known: Iterable[str], given: Mapping[str, Any]) -> list[str]:
    known = list(known)
    missing = [name for name in required if name not in given]
    unknown = [name for name in given if name not in known]
    problems = [f"input {name!r} is missing" for name in missing]
    problems += [f"unknown input {name!r}{close_match(name, missing or known)}" for name in unknown]
    return problems


def close_match(name: str, names: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def misfit(port: Port, array: Array) -> str | None:
    if port.dtype is None:
        return f"input {port.name!r} has type {port.type}, which cannot be fed from an array"
    if array.dtype != port.dtype:
        return f"input {port.name!r} must be {port.element}, got {array.dtype}"
    fits = len(array.shape) == len(port.shape) and all(
        not isinstance(want, int) or want == got for want, got in zip(port.shape, array.shape, strict=True)
    )
    return None if fits else f"input {port.name!r} must have shape {list(port.shape)}, got {list(array.shape)}"


def to_ort_value(array: Array) -> Any:
    array = np.require(array, requirements="C")  # ascontiguousarray would make a 0-d array 1-d
    for element, dtype in EXTENDED.items():
        if array.dtype == dtype:
            bits = array.view(np.dtype(f"uint{8 * dtype.itemsize}"))
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ELEMENT_TYPE[element])
    return ort.OrtValue.ortvalue_from_numpy(array)


# -- outputs -----------------------------------------------------------------------------------------------------------


def to_array(value: Any, port: Port, session: str) -> Array:
    if isinstance(value, ort.OrtValue):
        return _from_ort_value(value, port, session)
    if not isinstance(value, np.ndarray | np.generic):
        raise SessionError(f"{session}: output {port.name!r} is {port.type}, which has no array form")
    return np.asarray(value)


def _from_ort_value(value: Any, port: Port, session: str) -> Array:
    if port.dtype is None or not value.is_tensor():
        raise SessionError(f"{session}: output {port.name!r} is {port.type}, which has no array form")
    if port.element in STANDARD:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    size = int(np.prod(shape, dtype=np.int64)) * port.dtype.itemsize
    # The buffer belongs to the OrtValue: the bytes are copied before it goes away.
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(content, dtype=port.dtype).reshape(shape)
