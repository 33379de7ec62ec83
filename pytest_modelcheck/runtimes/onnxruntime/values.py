"""Arrays to onnxruntime's values and back, those of types that its numpy bridge does not know included."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from pytest_modelcheck.runtimes.ports import EXTENDED, STANDARD, Array, Port

_ELEMENT_TYPE = {
    "bfloat16": onnx.TensorProto.BFLOAT16,
    "float8e4m3fn": onnx.TensorProto.FLOAT8E4M3FN,
    "float8e4m3fnuz": onnx.TensorProto.FLOAT8E4M3FNUZ,
    "float8e5m2": onnx.TensorProto.FLOAT8E5M2,
    "float8e5m2fnuz": onnx.TensorProto.FLOAT8E5M2FNUZ,
}


def to_ort_value(array: Array) -> Any:
    """A view of the array's own memory."""
    array = np.require(array, requirements="C")  # ascontiguousarray would make a 0-d array 1-d
    for element, dtype in EXTENDED.items():
        if array.dtype == dtype:
            bits = array.view(np.dtype(f"uint{8 * dtype.itemsize}"))
            return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, _ELEMENT_TYPE[element])
    return ort.OrtValue.ortvalue_from_numpy(array)


def to_array(value: Any, port: Port) -> Array:
    """Raises TypeError for a value that has no array form."""
    if isinstance(value, ort.OrtValue):
        return _from_ort_value(value, port)
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(port.type)
    return np.asarray(value)


def _from_ort_value(value: Any, port: Port) -> Array:
    if port.dtype is None or not value.is_tensor():
        raise TypeError(port.type)
    if port.element in STANDARD:
        return np.asarray(value.numpy())
    shape = tuple(value.shape())
    size = int(np.prod(shape, dtype=np.int64)) * port.dtype.itemsize
    # The buffer belongs to the OrtValue: the bytes are copied before it goes away.
    content = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(content, dtype=port.dtype).reshape(shape)
