"""OpenVINO: reads the .onnx file itself and converts it on loading; its graph optimizer cannot be turned off.

Computed in float32 (`INFERENCE_PRECISION_HINT`): by its default OpenVINO 2026.4 chooses half types where the processor
has them, and differs by 1e-3. It does not raise where sizes do not fit in a run: outputs are empty then.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from pytest_modelcheck.runtimes.interface import How, Runtime, RuntimeMissingError, Session
from pytest_modelcheck.runtimes.models import Model, SessionError, check_types, graph_of, inlined, reason
from pytest_modelcheck.runtimes.ports import STANDARD, Array, Port, signature_of

_DTYPES = frozenset(STANDARD) - {"string"}
_PLACES = re.compile(r"(Exception from|Check '.*?' failed at) \S+:\d+:?\s*|FrontEnd API failed with \w+:\s*")
_LINKS = re.compile(r"\s*To facilitate the conversion .*", re.DOTALL)
_ONE_FILE = 2**31 - 2**20
"""Bytes that fit into one protobuf file."""
_UNCONVERTED = re.compile(r"No conversion rule found for operations: ([^\n]+)")


def _package(name: str = "openvino") -> Any:
    """The package, or nncf, imported without its telemetry.

    Importing openvino 2026.4 sends an event to its makers, unless the telemetry package is missing: it has a stub.
    """
    telemetry = "openvino_telemetry"
    if name in sys.modules or telemetry in sys.modules:
        return importlib.import_module(name)
    sys.modules[telemetry] = None  # type: ignore[assignment]  # what import takes for "not installed"
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules[telemetry]


def _open(model: Model, how: How, name: str) -> Session:
    core = _package().Core()
    if how.provider not in (devices := _devices()):
        raise SessionError(f"{name}: this OpenVINO has no device {how.provider!r}; it has {', '.join(devices)}")
    try:
        graph = graph_of(model, name)
        signature = signature_of(graph, name)
        check_types(signature, _DTYPES, "OpenVINO")
        read = core.read_model(str(model) if isinstance(model, str | Path) else _bytes(graph))
        compiled = core.compile_model(read, how.provider, _config(how))
    except SessionError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError for all that it cannot do, onnx_ir what it likes
        text = str(error)
        operators = tuple(op.strip() for found in _UNCONVERTED.findall(text) for op in found.split(","))
        said = reason(_LINKS.sub("", _PLACES.sub("", text)))
        raise SessionError(f"{name}: OpenVINO cannot load the model: {said}", operators) from error
    return Session(
        signature=signature,
        how=how,
        start=partial(_start, compiled),
        as_array=_as_array,
        label="OpenVINO",
        weights=partial(_weights, read),
    )


def _config(how: How) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": how.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }


def _executed(path: Path, how: How) -> dict[str, int]:
    """Type of each layer of the compiled graph, such as ``"FullyConnected"``; what only holds a value is left out."""
    compiled = _package().Core().compile_model(str(path), how.provider, _config(how))
    layers = (str(op.get_rt_info()["layerType"].value) for op in compiled.get_runtime_model().get_ordered_ops())
    return dict(Counter(layer for layer in layers if layer not in ("Input", "Output", "Const")))


def _bytes(graph: ir.Model) -> bytes:
    content: bytes = ir.to_proto(inlined(graph)).SerializeToString()
    return content


def _start(compiled: Any, arrays: Mapping[str, Array]) -> Callable[[], Sequence[Any]]:
    tensor = _package().Tensor
    request = compiled.create_infer_request()
    for port in compiled.inputs:  # those that no node reads are gone, and a default is a constant
        (name,) = port.get_names() & arrays.keys()
        request.set_tensor(port, tensor(np.ascontiguousarray(arrays[name])))
    return partial(_infer, request, len(compiled.outputs))


def _infer(request: Any, outputs: int) -> Sequence[Any]:
    request.infer()
    return [request.get_output_tensor(index).data for index in range(outputs)]


def _as_array(value: Any, port: Port) -> Array:
    return np.array(value)  # the buffer is the request's, and the next run writes into it


def _weights(read: Any) -> dict[str, Array]:
    """Name -> content of each constant of the converted graph."""
    constants = (op for op in read.get_ordered_ops() if op.get_type_name() == "Constant")
    return {op.get_friendly_name(): np.asarray(op.data) for op in constants}


def _devices() -> tuple[str, ...]:
    return tuple(_package().Core().available_devices)


def _by_nncf(source: Path, target: Path, feeds: Sequence[Mapping[str, Array]]) -> None:
    """OpenVINO's quantizer: int8 weights per channel and activations, with ranges from `feeds` and corrected biases.

    Raises:
        RuntimeMissingError: if it is not installed.
    """
    if importlib.util.find_spec("nncf") is None:
        raise RuntimeMissingError("nncf is not installed: pip install 'pytest-modelcheck[nncf]'")
    nncf = _package("nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    model = onnx.shape_inference.infer_shapes(_with_constant_biases(onnx.load(source)), data_prop=True)
    with contextlib.redirect_stdout(io.StringIO()):  # bars of progress
        made = nncf.quantize(model, nncf.Dataset(list(feeds)), subset_size=len(feeds))
    onnx.save(made, target, save_as_external_data=made.ByteSize() > _ONE_FILE)


def _with_constant_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """A Gemm becomes Gemm and Add where its addend is computed: nncf 3.4 looks for a weight of that name."""
    weights, nodes = {each.name for each in model.graph.initializer}, []
    for node in model.graph.node:
        nodes.append(node)
        beta = {each.name: each.f for each in node.attribute}.get("beta", 1.0)
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] not in weights and beta == 1:
            addend, total = node.input.pop(), node.output[0]
            node.output[0] = f"{total}/product"
            nodes.append(helper.make_node("Add", [node.output[0], addend], [total], name=f"{node.name}/Add"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


RUNTIME = Runtime(
    name="openvino",
    package="openvino",
    install="pip install 'pytest-modelcheck[openvino]'",
    open=_open,
    label="OpenVINO",
    providers=_devices,
    dtypes=_DTYPES,
    executed=_executed,
    quantizers={"nncf": _by_nncf},
)
