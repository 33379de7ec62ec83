"""Checking a model and inferring its shapes, without serialising its weights."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

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
    kept = {id(value) for value in (*model.graph.inputs, *model.graph.outputs)}
    try:
        proto = onnx.shape_inference.infer_shapes(
            ir.to_proto(_without_large_weights(model)), check_type=False, strict_mode=False, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, ValueError):
        return  # an invalid model is the checker's to report
    for graph, inferred in zip(model.graphs(), ir.from_proto(proto).graphs(), strict=True):
        found = ir.convenience.create_value_mapping(inferred)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            if id(value) not in kept and (known := found.get(name)) is not None:
                # onnx_ir's own pass writes dtypes, which makes a tensor of a sequence whose type was not known.
                value.type = known.type or value.type
                value.shape = known.shape if known.shape is not None else value.shape


def _without_large_weights(model: ir.Model) -> ir.Model:
    """A copy in which large initializers of the main graph are inputs: their values say nothing about shapes."""
    copy = model.clone()
    for name, value in list(copy.graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None and tensor.nbytes > _SMALL_TENSOR_BYTES:
            value.type, value.shape = ir.TensorType(tensor.dtype), ir.Shape(tensor.shape.numpy())
            value.const_value = None
            del copy.graph.initializers[name]
            if not value.is_graph_input():
                copy.graph.inputs.append(value)
    return copy


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
