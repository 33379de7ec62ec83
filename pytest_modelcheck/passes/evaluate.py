"""Evaluating one node on constant inputs, with the ONNX reference implementation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

Array = np.ndarray[Any, Any]

MAX_RESULT_BYTES = 256 * 1024 * 1024
"""No intermediate result larger than this is computed."""

_RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
_LOOPING = frozenset((
    "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "GRU", "GridSample", "LSTM", "LpPool",
    "MaxPool", "MaxRoiPool", "MaxUnpool", "QLinearConv", "RNN", "Resize", "RoiAlign", "Upsample",
))  # fmt: skip
"""The reference implementation computes these in Python loops."""

_MAX_LOOPED_ELEMENTS = 100_000


class CannotEvaluate(Exception):  # noqa: N818 - an answer, not an error: its text is the reason of a refusal
    """The node cannot be computed here; the message is a reason for `Refused`."""


def evaluate(node: ir.Node, inputs: Sequence[Array | None], opset: int) -> list[Array]:
    """The outputs of a standard-domain node without subgraphs.

    Args:
        node: The node; its attributes must be plain values.
        inputs: One array per input, None where it is omitted. Strings as arrays of bytes or str objects.
        opset: Version of the standard domain.

    Returns:
        One array per output; strings as an object array of bytes.

    Raises:
        CannotEvaluate: if the node is random, has no implementation, fails, or gives something else than tensors.
    """
    if node.op_type in _RANDOM:
        raise CannotEvaluate("its result is random")
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        raise CannotEvaluate("an attribute refers to an attribute of its function")
    expected = [_static_elements(output) for output in node.outputs]
    for output, elements in zip(node.outputs, expected, strict=True):
        width = 8 if output.dtype is None or output.dtype == ir.DataType.STRING else output.dtype.itemsize
        if elements is not None and elements * width > MAX_RESULT_BYTES:
            raise CannotEvaluate(f"its result is larger than {MAX_RESULT_BYTES} bytes")
    if node.op_type in _LOOPING and any(elements is None or elements > _MAX_LOOPED_ELEMENTS for elements in expected):
        raise CannotEvaluate(f"{node.op_type} on constants of this size takes too long to compute here")
    proto = ir.to_proto(node)
    for i in range(len(proto.input)):
        proto.input[i] = "" if inputs[i] is None else f"i{i}"
    for i in range(len(proto.output)):
        proto.output[i] = f"o{i}"
    feeds = {f"i{i}": _for_reference(array) for i, array in enumerate(inputs) if array is not None}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            results = ReferenceEvaluator(proto, opsets={"": opset}).run(None, feeds)
        except Exception as error:  # the implementation of any operator may raise anything
            raise CannotEvaluate(
                f"the reference implementation of {node.op_type} failed: {type(error).__name__}"
            ) from error
    return [_checked(array, output) for array, output in zip(results, node.outputs, strict=True)]


def _static_elements(value: ir.Value) -> int | None:
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return int(np.prod([int(dim) for dim in value.shape], dtype=np.int64))  # type: ignore[arg-type]


def _for_reference(array: Array) -> Array:
    if array.dtype != object:
        return array
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
    return np.array(texts, dtype=object).reshape(array.shape)


def _checked(result: Any, output: ir.Value) -> Array:
    if not isinstance(result, np.ndarray | np.generic):
        raise CannotEvaluate("its result is not a tensor")
    array = np.asarray(result)
    if array.dtype.kind in "UO":
        array = np.array([str(item).encode() for item in array.reshape(-1)], dtype=object).reshape(array.shape)
        dtype = ir.DataType.STRING
    else:
        dtype = ir.DataType.from_numpy(array.dtype)
    if output.dtype is not None and output.dtype != dtype:
        raise CannotEvaluate(f"the reference implementation gives {dtype} where the model says {output.dtype}")
    declared = output.shape
    if declared is not None and not _fits(array.shape, declared):
        raise CannotEvaluate("the reference implementation gives another shape than the model says")
    return array


def _fits(shape: tuple[int, ...], declared: ir.Shape) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(known, int) or known == dim for dim, known in zip(shape, declared, strict=True)
    )
