"""A case that is only an .onnx file: its weights and its graph by digest, for want of a module to draw weights for."""

from __future__ import annotations

import hashlib

import onnx_ir as ir

from pytest_modelcheck.graph.constants import tensor_bytes
from pytest_modelcheck.graph.wiring import wiring_of
from pytest_modelcheck.numbers.results import Numbers

_NOTE = "an .onnx file has no module to draw weights for: its own weights are locked, and the wiring of its graph"


def numbers_of_file(model: ir.Model) -> Numbers:
    """A digest of every initializer, and of what each output is computed from."""
    return Numbers(notes=(_NOTE,), files=digests(model), wiring=wiring_of(model))


def digests(model: ir.Model) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """(dtype, shape, digest) of every initializer of the graph and its subgraphs, by name."""
    files = {}
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is not None:
                shape = tuple(int(size) for size in tensor.shape.numpy())
                files[name] = (tensor.dtype.name.lower(), shape, hashlib.sha256(tensor_bytes(tensor)).hexdigest()[:12])
    return files
