"""A model case that is an .onnx file already: checked and wrapped, not copied."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.failures import failure
from pytest_modelcheck.export.key import ExportKey, library_versions
from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.model_case import ModelCase


def open_onnx(case: ModelCase, path: Path) -> Exported | ExportFailure:
    """Check the file and the data beside it. Subgraphs, functions and custom domains are fine; no node is not."""
    start = time.perf_counter()
    try:
        model = load_model(path)
        if count_nodes(model, constants=True) == 0:
            raise InvalidModelError(f"{path}: the graph has no node")
        key = _file_key(path, model)
    except (InvalidModelError, OSError) as error:
        step = "give the path of a valid .onnx file, with its external data in the same folder"
        return failure(case, FailureKind.INVALID_MODEL, str(error), next_step=step)
    return Exported(
        case=case,
        exporter="onnx",
        path=path,
        key=key,
        seconds=time.perf_counter() - start,
        versions=dict(key.versions),
    )


def _file_key(path: Path, model: ir.Model) -> ExportKey:
    locations = {
        str(value.const_value.location)
        for graph in (model.graph, *model.graph.subgraphs())
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    sources = {}
    for file in (path, *(path.parent / location for location in sorted(locations))):
        with file.open("rb") as stream:
            sources[file.name] = hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    return ExportKey(options={}, versions=library_versions(), sources=sources, model={}, code={}, inputs={})
