"""A model case that is an .onnx file already: checked and wrapped, not copied."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.failures import failure
from pytest_modelcheck.graph.counts import all_nodes, count_nodes
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.store import Manifest, file_digest, library_versions


def open_onnx(case: ModelCase, path: Path) -> Exported | ExportFailure:
    """Check the file and the data beside it. Subgraphs, functions and custom domains are fine; no node is not."""
    start = time.perf_counter()
    try:
        model = load_model(path)
        if count_nodes(model, constants=True) == 0:
            raise InvalidModelError(f"{path}: the graph has no node")
        key = _file_key(path)
    except (InvalidModelError, OSError) as error:
        step = "give the path of a valid .onnx file, with its external data in the same folder"
        return failure(case, FailureKind.INVALID_MODEL, str(error), next_step=step)
    return Exported(
        case=case,
        exporter="onnx",
        path=path,
        key=key,
        seconds=time.perf_counter() - start,
        versions=library_versions(),
    )


def _file_key(path: Path) -> Manifest:
    """The content of the file and of every file that its tensors lie in."""
    files = {path.name: path}
    for tensor in _tensors(ir.load(path)):
        if isinstance(tensor, ir.ExternalTensor):
            files[str(tensor.location)] = path.parent / tensor.location
    return Manifest(values={name: file_digest(file) for name, file in sorted(files.items())})


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol | None]:
    for graph in (model.graph, *model.graph.subgraphs()):
        yield from (value.const_value for value in graph.initializers.values())
    for node in all_nodes(model):
        for attribute in node.attributes.values():
            if attribute.type is ir.AttributeType.TENSOR:
                yield attribute.as_tensor()
