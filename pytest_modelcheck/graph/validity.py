"""Checking a model and inferring its shapes, without serialising its weights."""

from __future__ import annotations

import logging

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass, ShapeInferencePass

from pytest_modelcheck.errors import InvalidModelError

_SMALL_TENSOR_BYTES = 1024  # onnx_ir hands tensors of up to 1000 bytes to the C++ API


def check_model(model: ir.Model, *, what: str = "model") -> None:
    """Run onnx.checker over `model`.

    Raises:
        InvalidModelError: with the checker's own words, which name the node; for a node-free graph as well.
    """
    if not any(True for _ in model.graph) and not model.graph.outputs:
        raise InvalidModelError(f"{what} is empty: it has no node and no output")
    _read_small_tensors(model)
    try:
        CheckerPass()(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InvalidModelError(f"{what} does not pass onnx.checker: {_first_lines(error)}") from error
    except ValueError as error:  # onnx_ir refuses to serialise, e.g. a name used twice
        raise InvalidModelError(f"{what} cannot be written as ONNX: {_first_lines(error)}") from error


def infer_shapes(model: ir.Model) -> None:
    """Fill in types and shapes of intermediate values in place, as far as ONNX shape inference gets.

    Declared shapes of graph inputs and outputs are the caller's contract and stay as they were. Values whose shape
    cannot be inferred keep what they had; passes refuse what they cannot prove.
    """
    _read_small_tensors(model)
    declared = [(value, value.type, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]
    logger = logging.getLogger("onnx_ir.passes.common.shape_inference")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns and goes on; an invalid model is the checker's to report
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    finally:
        logger.setLevel(level)
        for value, type_, shape in declared:
            value.type, value.shape = type_, shape


def _read_small_tensors(model: ir.Model) -> None:
    """Take small external tensors into memory.

    The onnx C++ API gets a model without its large initializers; small ones that still lie in a file it would look
    for in the working directory, and fail.
    """
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= _SMALL_TENSOR_BYTES:
                value.const_value = ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=name)


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
