"""Reading and writing .onnx files: weights stay in their file until they are needed; nothing is half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import google.protobuf.message
import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.gc_pause import GarbagePaused
from pytest_modelcheck.graph.protobuf_stream import SMALL_TENSOR_BYTES, write_model
from pytest_modelcheck.graph.validity import check_model

LARGE_MODEL_BYTES = 100 * 1024 * 1024
"""Above this many bytes of weights they go into ``<name>.onnx.data``; a single protobuf ends at 2 GiB."""


def load_model(path: str | Path) -> ir.Model:
    """Load and check an .onnx file; external weights are memory-mapped on first use.

    Raises:
        InvalidModelError: if the file is missing, does not parse, refers to data that is missing or outside its
            folder, or does not pass the checker. The message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidModelError(f"{path}: no such file")
    with GarbagePaused():
        try:
            model = ir.load(path)
        except (google.protobuf.message.DecodeError, ir.serde.SerdeError, ValueError, TypeError, KeyError) as error:
            raise InvalidModelError(f"{path}: is not an ONNX model: {error.__cause__ or error}") from error
        _check_external_data(model, path)
        _read_external_attributes(model)
        check_model(model, what=str(path))
    return model


def _check_external_data(model: ir.Model, path: Path) -> None:
    folder = path.parent.resolve()
    for where, tensor in _external_tensors(model):
        data = (folder / tensor.location).resolve()
        if not data.is_relative_to(folder):
            raise InvalidModelError(f"{path}: {where} points outside the model's folder: {data}")
        if not data.exists():
            raise InvalidModelError(f"{path}: {where} needs {data}, which does not exist")
        if not data.is_file():
            raise InvalidModelError(f"{path}: {where} needs {data}, which is no file")
        if (tensor.offset or 0) + tensor.nbytes > data.stat().st_size:
            raise InvalidModelError(f"{path}: {where} ends beyond the end of {data}")


def _external_tensors(model: ir.Model) -> Iterator[tuple[str, ir.ExternalTensor]]:
    """Where each tensor stands whose data lies in another file: initializers, and tensors of nodes."""
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield f"initializer {name!r}", value.const_value
    for node in all_nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                yield f"attribute {attribute.name!r} of node {_label(node)!r}", attribute.value


def _label(node: ir.Node) -> str:
    """A node's name, or what it makes: an exporter need not name nodes."""
    return node.name or next((output.name for output in node.outputs if output.name), node.op_type)


def _read_external_attributes(model: ir.Model) -> None:
    """Take the tensors of nodes into memory: the checker would look for their file in the working directory."""
    for node in all_nodes(model):
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                tensor = attribute.value
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(tensor.numpy().copy(), dtype=tensor.dtype))


def save_model(model: ir.Model, path: str | Path) -> None:
    """Write `model`, with its weights beside it if they are large; the file appears whole or not at all.

    The model object itself is not changed: its weights stay where they were.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)
    names = (f"{path.name}.data", f"{path.name}.2.data")
    # Never over the weights of the graph that is still there: stopped halfway, the old file is as good as before.
    free = next((name for name in names if not path.with_name(name).exists()), names[0])
    data_name = free if weights > LARGE_MODEL_BYTES else None
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as scratch:
        target = Path(scratch) / path.name
        if data_name is None:
            with GarbagePaused(), target.open("wb") as stream:
                write_model(model, stream)
        else:
            ir.save(model, target, external_data=data_name, size_threshold_bytes=SMALL_TENSOR_BYTES)
            os.replace(target.with_name(data_name), path.with_name(data_name))
        os.replace(target, path)
    for name in names:
        if name != data_name:
            path.with_name(name).unlink(missing_ok=True)


def save_beside(model: ir.Model, path: str | Path) -> None:
    """Write `model` into the folder that already holds the data file of some of its weights.

    Those weights are referred to where they lie; only the others are written, those that are large into
    ``<name>.onnx.data`` where they are many. The graph appears whole or not at all, and `model` itself is not changed.
    """
    path = Path(path)
    folder = path.parent.resolve()
    copy = model.clone()  # shares the weights
    own = {
        value: tensor
        for graph in (copy.graph, *copy.graph.subgraphs())
        for value in graph.initializers.values()
        if (tensor := value.const_value) is not None and not _lies_in(tensor, folder)
    }
    large = {
        value: tensor
        for value, tensor in own.items()
        if tensor.dtype != ir.DataType.STRING and tensor.nbytes > SMALL_TENSOR_BYTES
    }
    if sum(tensor.nbytes for tensor in large.values()) > LARGE_MODEL_BYTES:
        written = ir.external_data.convert_tensors_to_external(list(large.values()), folder, f"{path.name}.data")
        for value, external in zip(large, written, strict=True):
            value.const_value = own[value] = external
    for value, tensor in own.items():
        if isinstance(tensor, ir.ExternalTensor) and not _lies_in(tensor, folder):
            value.const_value = ir.tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{path.stem}-") as scratch:
        target = Path(scratch) / path.name
        target.write_bytes(ir.to_proto(copy).SerializeToString())
        os.replace(target, path)


def _lies_in(tensor: ir.TensorProtocol, folder: Path) -> bool:
    return isinstance(tensor, ir.ExternalTensor) and Path(tensor.path).resolve() == folder / Path(tensor.path).name
