"""Reading and writing .onnx files: weights stay in their file until they are needed; nothing is half-written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import google.protobuf.message
import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError
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
    try:
        model = ir.load(path)
    except (google.protobuf.message.DecodeError, ir.serde.SerdeError, ValueError, TypeError, KeyError) as error:
        raise InvalidModelError(f"{path}: is not an ONNX model: {error.__cause__ or error}") from error
    _check_external_data(model, path)
    check_model(model, what=str(path))
    return model


def _check_external_data(model: ir.Model, path: Path) -> None:
    folder = path.parent.resolve()
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if not isinstance(tensor, ir.ExternalTensor):
                continue
            data = (folder / tensor.location).resolve()
            if not data.is_relative_to(folder):
                raise InvalidModelError(f"{path}: initializer {name!r} points outside the model's folder: {data}")
            if not data.is_file():
                raise InvalidModelError(f"{path}: initializer {name!r} needs {data}, which does not exist")
            if (tensor.offset or 0) + tensor.nbytes > data.stat().st_size:
                raise InvalidModelError(f"{path}: initializer {name!r} ends beyond the end of {data}")


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
        ir.save(model, target, external_data=data_name)
        if data_name is not None:
            os.replace(target.with_name(data_name), path.with_name(data_name))
        os.replace(target, path)
    for name in names:
        if name != data_name:
            path.with_name(name).unlink(missing_ok=True)
