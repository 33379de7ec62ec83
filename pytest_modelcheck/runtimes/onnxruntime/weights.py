"""How the weights of a model in memory reach onnxruntime: side by side with the graph, not inside it.

BERT-base (440 MB) opens in 0.3 to 0.8 s this way, against 3.5 to 6 s through a temporary file, and holds one copy,
which onnxruntime packs for its kernels. As bytes it would hold three, and a protobuf ends at 2 GiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.runtimes.onnxruntime.values import to_ort_value
from pytest_modelcheck.runtimes.ports import EXTENDED, STANDARD

INLINE_BYTES = 16 * 1024
"""Smaller weights stay in the graph: shapes and axes, which onnxruntime reads while it loads it."""


@dataclass(frozen=True, slots=True)
class SplitModel:
    """A graph as bytes, with stubs in place of its large weights.

    Attributes:
        content: The serialised model.
        names: Names of the initializers left out.
        values: Their onnxruntime values: views of the model's own memory, to be kept as long as the session.
        folder: What the file names of the remaining external weights are relative to; None if there are none.
    """

    content: bytes
    names: tuple[str, ...]
    values: tuple[Any, ...]
    folder: Path | None = None


def split_weights(model: ir.Model, *, mapped: bool = False) -> SplitModel:
    """Serialise `model` without its large weights. The model itself is not changed.

    Args:
        model: The model.
        mapped: Leave weights that lie in a file to onnxruntime, which maps the file and copies nothing. Of files in
            several folders those of one folder only: a session takes one.

    Raises:
        OSError, ValueError, TypeError: if a weight cannot be read, or the graph cannot be serialised.
    """
    names, values, unread = [], [], set()
    stubs: dict[ir.Value, ir.TensorProtocol] = {}
    folder = _folder_of_most(model) if mapped else None
    in_files = False
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            continue
        if value.is_graph_input():
            stubs |= _readable(value)
        elif not value.uses() and not value.is_graph_output():
            unread.add(name)  # onnxruntime drops it, and then fails to find its external weight
            stubs[value] = _stub(tensor, name)
        elif not _has_array_form(tensor) or tensor.nbytes <= INLINE_BYTES:
            stubs |= _readable(value)
        elif folder is not None and _folder(tensor) == folder:
            assert isinstance(tensor, ir.ExternalTensor)
            stubs[value] = _in_folder(tensor)
            in_files = True
        else:
            names.append(name)
            values.append(to_ort_value(tensor.numpy()))
            stubs[value] = _stub(tensor, name)
    for graph in model.graph.subgraphs():
        for value in graph.initializers.values():
            stubs |= _readable(value)
    proto = _written(model, stubs)
    for index in reversed(range(len(proto.graph.initializer)) if unread else ()):
        if proto.graph.initializer[index].name in unread:
            del proto.graph.initializer[index]
    return SplitModel(proto.SerializeToString(), tuple(names), tuple(values), folder if in_files else None)


def _written(model: ir.Model, stubs: Mapping[ir.Value, ir.TensorProtocol]) -> onnx.ModelProto:
    """The model with these tensors in place of its own, which it has again afterwards: a copy of a graph takes as long
    as writing it."""
    own = {value: value.const_value for value in stubs}
    try:
        for value, stub in stubs.items():
            value.const_value = stub
        return ir.to_proto(model)
    finally:
        for value, tensor in own.items():
            value.const_value = tensor


def _stub(tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
    shape = ir.Shape(tensor.shape.numpy())
    return ir.ExternalTensor("weights", 0, tensor.nbytes, tensor.dtype, shape=shape, name=name)


def _readable(value: ir.Value) -> dict[ir.Value, ir.TensorProtocol]:
    """What stands for a weight that stays inside: bytes have no folder for file names to be relative to."""
    tensor = value.const_value
    return (
        {value: ir.tensor(tensor.numpy(), dtype=tensor.dtype, name=value.name)}
        if isinstance(tensor, ir.ExternalTensor)
        else {}
    )


def _folder(tensor: ir.TensorProtocol | None) -> Path | None:
    return Path(tensor.path).resolve().parent if isinstance(tensor, ir.ExternalTensor) else None


def _folder_of_most(model: ir.Model) -> Path | None:
    """The folder whose files hold the most bytes of the graph's weights."""
    bytes_in: Counter[Path] = Counter()
    for value in model.graph.initializers.values():
        if value.const_value is not None and (folder := _folder(value.const_value)) is not None:
            bytes_in[folder] += value.const_value.nbytes
    return bytes_in.most_common(1)[0][0] if bytes_in else None


def _in_folder(tensor: ir.ExternalTensor) -> ir.ExternalTensor:
    """The same place of the same file, named relative to the folder the file lies in."""
    path = Path(tensor.path).resolve()
    return ir.ExternalTensor(
        path.name,
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        base_dir=path.parent,
    )


def _has_array_form(tensor: ir.TensorProtocol) -> bool:
    """Whether onnxruntime takes the tensor as an array: strings and packed 4-bit types stay in the graph."""
    return tensor.dtype != ir.DataType.STRING and np.dtype(tensor.dtype.numpy()) in _ARRAY_FORMS


_ARRAY_FORMS = {dtype for dtype in (*STANDARD.values(), *EXTENDED.values()) if dtype != np.dtype(object)}
