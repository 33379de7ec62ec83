"""Operators of which every implementation gives the same bits, as numpy writes them.

A model has hundreds of them to fold: numpy computes one in microseconds, where the ONNX reference implementation takes
70 ms to import and onnxruntime a session. What is not written here (a form of an older opset) they compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, Any]

MOVES_DATA = frozenset((
    "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherND", "Identity", "Reshape", "Slice", "Split",
    "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip
"""Exact in any dtype."""

_EXACT = MOVES_DATA | {
    "Abs", "Add", "And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Mul", "Neg", "Not", "Or",
    "Range", "Shape", "Size", "Sqrt", "Sub", "Xor",
}  # fmt: skip
"""Exact, or correctly rounded, in every dtype but half precision."""

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)
_INTEGERS = (ir.DataType.BOOL, ir.DataType.INT32, ir.DataType.INT64)


def is_exact(node: ir.Node, inputs: Sequence[Array | None]) -> bool:
    """Whether every implementation gives the same bits for these inputs."""
    dtypes = [value.dtype for value in (*node.inputs, *node.outputs) if value is not None]
    if node.op_type in ("Cast", "CastLike"):
        source, target = dtypes[0], dtypes[-1]
        if source in _FLOATS and target in (ir.DataType.INT32, ir.DataType.INT64):
            return inputs[0] is not None and _holds(target, inputs[0])
        return source in (*_INTEGERS, *_FLOATS) and target in (*_INTEGERS, *_FLOATS)
    if node.op_type in MOVES_DATA:
        return True
    return node.op_type in _EXACT and not any(dtype in _HALF for dtype in dtypes)


def _holds(integers: ir.DataType, floats: Array) -> bool:
    """Whether each is an integer of this dtype; others are cut off in more than one way."""
    limit = 2.0 ** (8 * integers.itemsize - 1)
    return bool(np.all((floats == np.trunc(floats)) & (-limit <= floats) & (floats < limit)))


def by_numpy(node: ir.Node, inputs: Sequence[Array | None]) -> Array | None:
    """What an exact node with one output gives; None where it is not written here, or not in this form."""
    function = _FUNCTIONS.get(node.op_type)
    if function is None or len(node.outputs) != 1:
        return None
    if any(array is not None and array.dtype.kind in "OSU" for array in inputs):
        return None  # texts come in several types
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    try:
        with np.errstate(all="ignore"):
            return np.asarray(function(*inputs, **attributes))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None  # another opset's form, or nothing at all


def _cast(data: Array, *, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    return data.astype(ir.DataType(to).numpy())  # the others are about 8-bit floats, which are not exact


def _constant_of_shape(shape: Array, *, value: ir.TensorProtocol | None = None) -> Array:
    content = np.zeros(1, np.float32) if value is None else value.numpy()
    return np.full(tuple(shape), content.reshape(-1)[0], content.dtype)


def _expand(data: Array, shape: Array) -> Array:
    return np.broadcast_to(data, np.broadcast_shapes(data.shape, tuple(shape))).copy()


def _reshape(data: Array, shape: Array, *, allowzero: int = 0) -> Array:
    kept = [axis for axis, size in enumerate(shape) if size == 0 and not allowzero]
    return data.reshape([data.shape[axis] if axis in kept else int(size) for axis, size in enumerate(shape)])


def _slice(data: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None) -> Array:
    index = [slice(None)] * data.ndim
    for i, axis in enumerate(range(len(starts)) if axes is None else axes):
        index[axis] = slice(starts[i], ends[i], None if steps is None else steps[i])
    return data[tuple(index)]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Cast": _cast,
    "CastLike": lambda data, like: data.astype(like.dtype),
    "Concat": lambda *data, axis: np.concatenate(data, axis),
    "ConstantOfShape": _constant_of_shape,
    "Equal": lambda a, b: a == b,
    "Expand": _expand,
    "Gather": lambda data, indices, axis=0: data.take(indices, axis),
    "Identity": lambda data: data,
    "Mul": lambda a, b: a * b,
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": lambda a: np.sqrt(a),
    "Squeeze": lambda data, axes=None: data.squeeze(None if axes is None else tuple(axes)),
    "Sub": lambda a, b: a - b,
    "Transpose": lambda data, perm=None: data.transpose(perm),
    "Unsqueeze": lambda data, axes: np.expand_dims(data, tuple(axes)),
    "Where": lambda condition, x, y: np.where(condition, x, y),
}
