"""A case that is only an .onnx file: its weights by digest. There is no module whose weights could be drawn."""

from __future__ import annotations

import hashlib

import onnx_ir as ir

from pytest_modelcheck.numbers.results import Numbers

_NOTE = "not locked: the function; an .onnx file has no module to draw weights for, so its own weights are locked"


def numbers_of_file(model: ir.Model) -> Numbers:
    """A digest of every initializer."""
    return Numbers(notes=(_NOTE,), files=digests(model))


def digests(model: ir.Model) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """(dtype, shape, digest) of every initializer of the graph and its subgraphs, by name."""
    files = {}
    for graph in (model.graph, *model.graph.subgraphs()):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is not None:
                shape = tuple(int(size) for size in tensor.shape.numpy())
                files[name] = (tensor.dtype.name.lower(), shape, hashlib.sha256(_content(tensor)).hexdigest()[:12])
    return files


def _content(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:  # has no bytes; lengths keep "ab", "c" apart from "a", "bc"
        return b"".join(b"%d:%b" % (len(text), text) for text in tensor.numpy().reshape(-1))
    return tensor.tobytes()
