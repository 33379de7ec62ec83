"""LiteRT (TensorFlow Lite): the graph is converted by onnx2tf, which needs packages that cannot lie beside torch's.

A .tflite file has fixed sizes: those of `How.shapes`. Types of inputs and outputs stay as they are, int64 among them,
and so does the order of their axes: onnx2tf 2.6.9 moves the channels of outputs last unless a Reshape stands before
them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import onnx
import onnx_ir as ir
from onnx import helper

from pytest_modelcheck.runtimes.environments import Environment
from pytest_modelcheck.runtimes.interface import How, Runtime, Session
from pytest_modelcheck.runtimes.models import Model, SessionError, check_types, graph_of, inlined, loading
from pytest_modelcheck.runtimes.ports import Array, Port, signature_of
from pytest_modelcheck.runtimes.worker import Worker, python_worker

_ENVIRONMENT = Environment(
    name="litert", kind="python", packages=("ai-edge-litert==2.1.2", "onnx2tf==2.6.9"), python=(3, 12)
)
_DTYPES = frozenset(("float", "bool", "int8", "int16", "int32", "int64", "uint8"))
_FLAT = "/flat"


def _open(model: Model, how: How, name: str) -> Session:
    with loading(name, "LiteRT"):
        graph = inlined(graph_of(model, name))
        signature = signature_of(graph, name)
        check_types(signature, _DTYPES, "LiteRT")
        fixed = _at_sizes(graph, dict(how.shapes))
        flat = _flatten_outputs(fixed)
    worker = Worker(python_worker(_ENVIRONMENT, "litert.py"), name, "LiteRT")
    (worker.folder / "model.onnx").write_bytes(fixed.SerializeToString())
    try:
        worker.load(
            model="model.onnx",
            inputs=[port.name for port in signature.inputs],
            outputs=[output.name for output in fixed.graph.output],
            threads=how.threads,
        )
    except SessionError as error:
        names = {node.op_type.upper(): node.op_type for node in graph.graph.all_nodes()}
        raise SessionError(str(error), tuple(names[op] for op in error.operators if op in names)) from None
    return Session(
        signature=signature,
        how=how,
        start=worker.start,
        as_array=partial(_as_array, flat),
        label="LiteRT",
        held=(worker,),
    )


def _at_sizes(graph: ir.Model, shapes: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """The graph with inputs of these sizes, and the sizes after them; those that the file claims may contradict."""
    for value in graph.graph.inputs:
        if (shape := shapes.get(value.name or "")) is not None:
            value.shape = ir.Shape(shape)
    for node in graph.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    return onnx.shape_inference.infer_shapes(ir.to_proto(graph), data_prop=True)


def _flatten_outputs(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Put a Reshape to one axis behind outputs that could be images; returns their shapes."""
    shapes = {}
    for output in model.graph.output:
        tensor = output.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        if len(shape) > 2 and all(shape):
            shapes[output.name] = shape
            _flatten(model.graph, output)
    return shapes


def _flatten(graph: onnx.GraphProto, output: onnx.ValueInfoProto) -> None:
    size, name = f"{output.name}{_FLAT}/shape", f"{output.name}{_FLAT}"
    graph.initializer.append(helper.make_tensor(size, onnx.TensorProto.INT64, [1], [-1]))
    graph.node.append(helper.make_node("Reshape", [output.name, size], [name]))
    output.CopyFrom(helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, None))


def _as_array(flat: Mapping[str, tuple[int, ...]], value: Array, port: Port) -> Array:
    return value.reshape(flat[port.name]) if port.name in flat else value


RUNTIME = Runtime(
    name="litert",
    package="",
    install=_ENVIRONMENT.command,
    open=_open,
    label="LiteRT",
    dtypes=_DTYPES,
    environment=_ENVIRONMENT,
    freezes=True,
)
