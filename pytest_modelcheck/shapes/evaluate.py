"""Evaluating one node on constant inputs: folding gives what running would have given.

So onnxruntime computes it. What is exact in any implementation (moving data, comparing, sums and products of two
numbers) numpy computes, in the forms of exact.py; in others, and what onnxruntime has no kernel for, the ONNX reference
implementation. That is not trusted with more: in onnx 1.23 its LpNormalization of order 1 forgets the absolute value,
its GatherElements raises where index and data sizes differ, and it prints numbers differently.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.shapes.exact import Array, by_numpy, is_exact

MAX_RESULT_BYTES = 256 * 1024 * 1024
"""No intermediate result larger than this is computed."""

_IR_VERSION = 10
"""Of the one-node models; every onnxruntime that is supported reads it."""

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
_RUNTIME_ONLY = frozenset((
    "Attention", "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DFT", "DeformConv", "GRU", "GridSample",
    "LSTM", "LpNormalization", "LpPool", "MatMul", "MatMulInteger", "MaxPool", "MaxRoiPool", "MaxUnpool",
    "QLinearConv", "QLinearMatMul", "RNN", "Resize", "RoiAlign", "STFT", "Upsample",
))  # fmt: skip
"""The reference implementation is slow or wrong."""


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
    if node.op_type in RANDOM or (node.op_type == "Dropout" and len(node.inputs) > 2):
        raise CannotEvaluate("its result is random")
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        raise CannotEvaluate("an attribute refers to an attribute of its function")
    if any(map(_is_too_large, node.outputs)):
        raise CannotEvaluate(f"its result is larger than {MAX_RESULT_BYTES} bytes")
    if any(not isinstance(output.type, ir.TensorType | None) for output in node.outputs):
        raise CannotEvaluate("its result is not a tensor")
    exact = is_exact(node, inputs)
    computed = by_numpy(node, inputs) if exact else None
    if computed is not None:
        return [_checked(computed, node.outputs[0])]
    proto = ir.serde.serialize_node(node)
    proto.ClearField("name")
    proto.ClearField("metadata_props")
    for i in range(len(proto.input)):
        proto.input[i] = "" if inputs[i] is None else f"i{i}"
    for i in range(len(proto.output)):
        proto.output[i] = f"o{i}"
    feeds = {f"i{i}": _with_text(array) for i, array in enumerate(inputs) if array is not None}
    results = _results(proto, exact, feeds, opset)
    return [_checked(array, output) for array, output in zip(results, node.outputs, strict=True)]


def _results(proto: onnx.NodeProto, exact: bool, feeds: dict[str, Array], opset: int) -> Sequence[Any]:
    first, other = (_by_reference, _by_runtime) if exact else (_by_runtime, _by_reference)
    try:
        return first(proto, feeds, opset)
    except CannotEvaluate:  # no kernel for this dtype, no onnxruntime; the reference: Unsqueeze below opset 13 (1.23)
        if proto.op_type in _RUNTIME_ONLY:
            raise
        return other(proto, feeds, opset)


def _by_reference(proto: onnx.NodeProto, feeds: dict[str, Array], opset: int) -> Sequence[Any]:
    from onnx.reference import ReferenceEvaluator  # 70 ms, and most models need none

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return list(ReferenceEvaluator(proto, opsets={"": opset}).run(None, feeds))
        except Exception as error:  # the implementation of any operator may raise anything
            kind = type(error).__name__
            raise CannotEvaluate(f"the reference implementation of {proto.op_type} failed: {kind}") from error


def _by_runtime(proto: onnx.NodeProto, feeds: dict[str, Array], opset: int) -> Sequence[Any]:
    from pytest_modelcheck.runtimes import RuntimeMissingError, SessionError, open_session  # 25 ms, as above

    # As initializers, because onnxruntime's Python interface does not take every dtype as an input.
    graph = onnx.helper.make_graph(
        [proto],
        "node",
        [],
        [onnx.ValueInfoProto(name=name) for name in proto.output if name],
        [onnx.numpy_helper.from_array(array, name) for name, array in feeds.items()],
    )
    imports = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION)
    try:
        return list(open_session(model).run({}).values())
    except RuntimeMissingError as error:
        raise CannotEvaluate("onnxruntime is not installed") from error
    except SessionError as error:
        raise CannotEvaluate(f"onnxruntime cannot compute {proto.op_type} on these constants") from error


def _is_too_large(value: ir.Value) -> bool:
    width = 8 if value.dtype is None or value.dtype == ir.DataType.STRING else value.dtype.itemsize
    sizes = [dim for dim in value.shape or () if isinstance(dim, int)]
    return len(sizes) == len(value.shape or ()) and math.prod(sizes) * width > MAX_RESULT_BYTES


def _with_text(array: Array) -> Array:
    if array.dtype.kind not in "OSU":
        return array
    texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)]
    return np.array(texts, dtype=object).reshape(array.shape)


def _checked(result: Any, output: ir.Value) -> Array:
    if not isinstance(result, np.ndarray | np.generic):
        raise CannotEvaluate("its result is not a tensor")
    array = np.asarray(result)
    if array.dtype.kind in "OSTU":
        texts = [item if isinstance(item, bytes) else str(item).encode() for item in array.reshape(-1).tolist()]
        array = np.array(texts, dtype=object).reshape(array.shape)
        dtype = ir.DataType.STRING
    else:
        dtype = ir.DataType.from_numpy(array.dtype)
    if output.dtype is not None and output.dtype != dtype:
        raise CannotEvaluate(f"the evaluation gives {dtype} where the model says {output.dtype}")
    if output.shape is not None and not _fits(array.shape, output.shape):
        raise CannotEvaluate("the evaluation gives another shape than the model says")
    return array


def _fits(shape: tuple[int, ...], declared: ir.Shape) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(known, int) or known == dim for dim, known in zip(shape, declared, strict=True)
    )
