"""Which types and shapes of inner values are written: none that a reader contradicts.

- Of initializers none: their tensors say it all. The file is smaller, and onnxruntime's quantizers, which turn a Gemm's
  weights around and leave what was said of their shape, can take it.
- No size that kernels make and ONNX shape inference computes differently (kernel_sizes.py), nor what follows from it:
  ``onnx.checker.check_model(full_check=True)`` would refuse the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.kernel_sizes import KERNEL_SIZED
from pytest_modelcheck.graph.scopes import graphs
from pytest_modelcheck.graph.shape_inference import read_small_tensors, without_large_weights


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """`model` as it is written."""
    with accepted_value_infos(model):
        return ir.to_proto(model)


@contextmanager
def accepted_value_infos(model: ir.Model) -> Iterator[None]:
    """Take from the values of `model`, meanwhile, what is not to be written."""
    weights = [
        value
        for graph in graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None and not value.is_graph_output() and not value.is_graph_input()
    ]
    contradicted = _contradicted(model)
    taken = [(value, value.shape, value.type) for value in (*weights, *contradicted)]
    try:
        for value in weights:
            value.shape = value.type = None
        for value in contradicted:
            value.shape = None
        yield
    finally:
        for value, shape, type_ in taken:
            value.shape, value.type = shape, type_


def _contradicted(model: ir.Model) -> list[ir.Value]:
    """Where onnx infers any size differently: the values of which it does not infer by itself all that is known."""
    if not any(node.op_type in KERNEL_SIZED and node.domain == "" for node in all_nodes(model)):
        return []
    read_small_tensors(model)
    proto = without_large_weights(model)
    for written in _graphs(proto.graph):
        del written.value_info[:]
        for output in written.output:
            if output.type.HasField("tensor_type"):
                output.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto)  # as onnx.checker does
    except (onnx.shape_inference.InferenceError, ValueError):
        return []
    compared = [
        (value, _is_inferred(value.shape, sizes.get(value.name)))
        for graph, sizes in zip(graphs(model), map(_sizes, _graphs(inferred.graph)), strict=True)
        for value in (value for node in graph for value in node.outputs)
        if value.shape is not None and not (graph is model.graph and value.is_graph_output())
    ]
    return [value for value, same in compared if not same] if any(same is False for _, same in compared) else []


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """`graph` and every subgraph in it, in the order of `scopes.graphs`."""
    found = [graph]
    for outer in found:
        for attribute in (attribute for node in outer.node for attribute in node.attribute):
            found += [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
    return found


def _sizes(graph: onnx.GraphProto) -> dict[str | None, list[int | None]]:
    types = ((info.name, info.type.tensor_type) for info in (*graph.value_info, *graph.output))
    return {
        name: [dim.dim_value if dim.HasField("dim_value") else None for dim in type_.shape.dim]
        for name, type_ in types
        if type_.HasField("shape")
    }


def _is_inferred(shape: ir.Shape, sizes: list[int | None] | None) -> bool | None:
    """Whether `sizes` say as much as `shape`; None where they only say less."""
    if sizes is None:
        return None
    if len(shape) != len(sizes):
        return False
    pairs = [(size, other) for size, other in zip(shape, sizes, strict=True) if size != other and isinstance(size, int)]
    return not pairs or (None if all(other is None for _, other in pairs) else False)
