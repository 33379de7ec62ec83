"""Reading and writing .onnx files: weights stay in their file until they are needed; nothing is half-written."""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import google.protobuf.message
import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError, ModelCheckError
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.from_proto import in_order, refuse_unreadable
from pytest_modelcheck.graph.gc_pause import GarbagePaused
from pytest_modelcheck.graph.protobuf_stream import SMALL_TENSOR_BYTES, write_model
from pytest_modelcheck.graph.scopes import graphs
from pytest_modelcheck.graph.shape_inference import read_small_tensors
from pytest_modelcheck.graph.validity import check_model
from pytest_modelcheck.graph.value_infos import accepted_value_infos, to_proto

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
            proto = onnx.load(path, load_external_data=False)
            refuse_unreadable(proto, what=str(path))
            model = in_order(proto)
            ir.external_data.set_base_dir(model.graph, path.parent)
            _check_external_data(model, path)
            _check_sizes(model, path)
            _read_external_attributes(model)
            check_model(model, what=str(path))
        except (ModelCheckError, OSError):
            raise
        except Exception as error:  # whatever onnx and onnx_ir raise of a file that nobody vouched for
            raise InvalidModelError(f"{path}: is not an ONNX model: {_reason(error)}") from error
    return model


def read_model(path: Path) -> ir.Model:
    """A file that `load_model` has accepted and nobody has written to since."""
    with GarbagePaused():
        model = in_order(onnx.load(path, load_external_data=False))
        ir.external_data.set_base_dir(model.graph, path.parent)
        _read_external_attributes(model)
        read_small_tensors(model)
    return model


_SHOWN = 300


def _reason(error: BaseException) -> str:
    """The innermost cause, shortened: onnx_ir wraps it once for each message it lies in, and prints these whole."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _check_external_data(model: ir.Model, path: Path) -> None:
    folder = path.parent.resolve()
    for where, tensor in _tensors(model):
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        data = (folder / tensor.location).resolve()
        if not data.is_relative_to(folder):
            raise InvalidModelError(f"{path}: {where} points outside the model's folder: {data}")
        if not data.exists():
            raise InvalidModelError(f"{path}: {where} needs {data}, which does not exist")
        if not data.is_file():
            raise InvalidModelError(f"{path}: {where} needs {data}, which is not a file")
        if (tensor.offset or 0) + tensor.nbytes > data.stat().st_size:
            raise InvalidModelError(f"{path}: {where} ends beyond the end of {data}")


def _check_sizes(model: ir.Model, path: Path) -> None:
    """Refuse a tensor in the file that holds more or less than its shape needs: nobody could read it."""
    whole = path.stat().st_size
    for where, tensor in _tensors(model):
        if isinstance(tensor, ir.ExternalTensor) or tensor.dtype is ir.DataType.STRING:
            continue
        if min(tensor.shape.numpy(), default=0) < 0 or tensor.nbytes > whole:
            raise InvalidModelError(f"{path}: {where} of shape {tensor.shape} is larger than the file")
        if isinstance(tensor, ir.TensorProtoTensor) and (wrong := _other_content(tensor)):
            raise InvalidModelError(f"{path}: {where} of shape {tensor.shape} and type {tensor.dtype} {wrong}")


def _other_content(tensor: ir.TensorProtoTensor) -> str:
    """How much the tensor holds where its shape needs something else; "" where both agree."""
    proto = tensor.raw
    if proto.HasField("raw_data"):
        size = len(proto.raw_data)
        return "" if size == tensor.nbytes else f"has {size} bytes of data, and needs {tensor.nbytes}"
    values = len(getattr(proto, onnx.helper.tensor_dtype_to_field(tensor.dtype.value)))
    if tensor.dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        needed = 2 * tensor.size
    else:
        needed = tensor.nbytes if tensor.dtype.bitwidth < 8 else tensor.size
    return "" if values == needed else f"has {values} values, and needs {needed}"


def _tensors(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    """Each initializer, and each tensor of a node."""
    for graph in graphs(model):
        for name, value in graph.initializers.items():
            if value.const_value is not None:
                yield f"initializer {name!r}", value.const_value
    for node in all_nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
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


def save_model(model: ir.Model, path: str | Path, *, source: str | Path | None = None) -> None:
    """Write `model`, with its weights beside it if they are large; the file appears whole or not at all.

    The model object itself is not changed: its weights stay where they were. A data file of the graph that was at
    `path` before goes with it.

    Args:
        model: What to write.
        path: Where.
        source: The file that `model` was read from, where that is a different file: its weights stay.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = [
        tensor for graph in graphs(model) for v in graph.initializers.values() if (tensor := v.const_value) is not None
    ]
    replaced = _own_data_files(path)
    if source is not None and Path(source).resolve() != path.resolve():
        replaced -= {Path(tensor.path).resolve() for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    large = sum(tensor.nbytes for tensor in tensors) > LARGE_MODEL_BYTES
    # Never over the weights of a graph that is still there: stopped halfway, it is as good as before.
    names = (f"{path.name}.{number}.data".replace(".1.data", ".data") for number in itertools.count(1))
    data_name = next(name for name in names if not path.with_name(name).exists()) if large else None
    with tempfile.TemporaryDirectory(prefix=f".{path.stem}-", dir=path.parent) as scratch:
        target = Path(scratch) / path.name
        if data_name is None:
            with GarbagePaused(), target.open("wb") as stream, accepted_value_infos(model):
                write_model(model, stream)
        else:
            with accepted_value_infos(model):
                ir.save(model, target, external_data=data_name, size_threshold_bytes=SMALL_TENSOR_BYTES)
            os.replace(target.with_name(data_name), path.with_name(data_name))
        os.replace(target, path)
    for old in replaced:
        old.unlink(missing_ok=True)


def data_files(path: Path) -> set[Path]:
    """The files beside the graph at `path` in which tensors of it lie, of any size: weights, and tensors of nodes.

    `load_model` reads small ones into memory, so the loaded model does not tell.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"location") < 0:  # the key under which a tensor names its file
            return set()
    folder = path.parent.resolve()
    tensors = (tensor for _, tensor in _tensors(ir.load(path)))
    return {(folder / tensor.location).resolve() for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}


def _own_data_files(path: Path) -> set[Path]:
    """The files called after the graph at `path` in which its weights lie."""
    try:
        files = data_files(path)
    except (OSError, google.protobuf.message.DecodeError, ir.serde.SerdeError, ValueError, TypeError, KeyError):
        return set()  # no graph of ours: nothing of it is known
    folder = path.parent.resolve()
    return {file for file in files if file.parent == folder and file.name.startswith(f"{path.name}.")}


def save_beside(model: ir.Model, path: str | Path) -> Path:
    """Write `model` into the folder that already holds the data file of some of its weights.

    Those weights are referred to where they lie; only the others are written, those that are large into
    ``<name>.onnx.data`` where they are many. The graph appears whole or not at all, and `model` itself is not changed.
    Returns the path.
    """
    path = Path(path)
    folder = path.parent.resolve()
    copy = model.clone()  # shares the weights
    own = {
        value: tensor
        for graph in graphs(copy)
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
        target.write_bytes(to_proto(copy).SerializeToString())
        os.replace(target, path)
    return path


def _lies_in(tensor: ir.TensorProtocol, folder: Path) -> bool:
    return isinstance(tensor, ir.ExternalTensor) and Path(tensor.path).resolve() == folder / Path(tensor.path).name
