"""Evaluating one node on constant inputs.

Most operators are computed by the ONNX reference implementation, which defines them for every dtype. Those that round
differently from one implementation to the next (half precision, sums, transcendental functions, transforms), and those
that the reference computes in Python loops, are computed by onnxruntime: folding gives what running would have given.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from pytest_modelcheck.runtimes import SessionError, open_session, runtime_named

Array = np.ndarray[Any, Any]

MAX_RESULT_BYTES = 256 * 1024 * 1024
"""No intermediate result larger than this is computed."""

_IR_VERSION = 10
"""Of the one-node models; every onnxruntime that is supported reads it."""

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
_BY_RUNTIME = frozenset((
    "Attention", "AveragePool", "Conv", "ConvInteger", "ConvTranspose", "DFT", "DeformConv", "GRU", "GridSample",
    "LSTM", "LpPool", "MatMul", "MatMulInteger", "MaxPool", "MaxRoiPool", "MaxUnpool", "QLinearConv", "QLinearMatMul",
    "RNN", "Resize", "RoiAlign", "STFT", "Upsample",
))  # fmt: skip

_TRANSCENDENTAL = frozenset((
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cos", "Cosh", "Elu", "Erf", "Exp", "Gelu", "Gemm", "Log",
    "LogSoftmax", "Mish", "Pow", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Selu", "Sigmoid", "Sin", "Sinh", "Softmax", "Softplus", "Tan", "Tanh",
))  # fmt: skip
"""Correct to the last place but one, and not always to the same one."""

_MOVES_DATA = frozenset((
    "Cast", "Concat", "ConstantOfShape", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
    "Pad", "Reshape", "ScatterElements", "ScatterND", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Trilu",
    "Unsqueeze", "Where",
))  # fmt: skip
"""Exact in any dtype."""

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


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
    if node.op_type in RANDOM:
        raise CannotEvaluate("its result is random")
    if any(attribute.is_ref() for attribute in node.attributes.values()):
        raise CannotEvaluate("an attribute refers to an attribute of its function")
    expected = [_static_elements(output) for output in node.outputs]
    for output, elements in zip(node.outputs, expected, strict=True):
        width = 8 if output.dtype is None or output.dtype == ir.DataType.STRING else output.dtype.itemsize
        if elements is not None and elements * width > MAX_RESULT_BYTES:
            raise CannotEvaluate(f"its result is larger than {MAX_RESULT_BYTES} bytes")
    if node.op_type == "Dropout" and len(node.inputs) > 2:
        raise CannotEvaluate("its result is random")
    proto = ir.to_proto(node)
    for i in range(len(proto.input)):
        proto.input[i] = "" if inputs[i] is None else f"i{i}"
    for i in range(len(proto.output)):
        proto.output[i] = f"o{i}"
    feeds = {f"i{i}": _with_text(array) for i, array in enumerate(inputs) if array is not None}
    halves = any(value is not None and value.dtype in _HALF for value in (*node.inputs, *node.outputs))
    results: Sequence[Any]
    if not runtime_named("onnxruntime").installed:  # the reference rounds differently, but gives the same graph
        results = _by_reference(proto, feeds, opset)
    elif node.op_type in _BY_RUNTIME or (halves and node.op_type not in _MOVES_DATA):
        results = _by_runtime(proto, feeds, opset)
    elif node.op_type in _TRANSCENDENTAL:
        try:
            results = _by_runtime(proto, feeds, opset)
        except CannotEvaluate:  # onnxruntime has no kernel for this dtype
            results = _by_reference(proto, feeds, opset)
    else:
        results = _by_reference(proto, feeds, opset)
    return [_checked(array, output) for array, output in zip(results, node.outputs, strict=True)]


def _by_reference(proto: onnx.NodeProto, feeds: dict[str, Array], opset: int) -> Sequence[Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return list(ReferenceEvaluator(proto, opsets={"": opset}).run(None, feeds))
        except Exception as error:  # the implementation of any operator may raise anything
            kind = type(error).__name__
            raise CannotEvaluate(f"the reference implementation of {proto.op_type} failed: {kind}") from error


def _by_runtime(proto: onnx.NodeProto, feeds: dict[str, Array], opset: int) -> Sequence[Any]:
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
    except SessionError as error:
        raise CannotEvaluate(f"onnxruntime cannot compute {proto.op_type} on these constants") from error


def _static_elements(value: ir.Value) -> int | None:
    if value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
        return None
    return int(np.prod([int(dim) for dim in value.shape], dtype=np.int64))  # type: ignore[arg-type]


def _with_text(array: Array) -> Array:
    if array.dtype != object:
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
    declared = output.shape
    if declared is not None and not _fits(array.shape, declared):
        raise CannotEvaluate("the evaluation gives another shape than the model says")
    return array


def _fits(shape: tuple[int, ...], declared: ir.Shape) -> bool:
    return len(shape) == len(declared) and all(
        not isinstance(known, int) or known == dim for dim, known in zip(shape, declared, strict=True)
    )
