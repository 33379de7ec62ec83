"""The interface of an ONNX model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.interface.facts import Dim, Interface, Port
from pytest_modelcheck.interface.naming import node_scheme, weight_scheme

_DTYPE = {"FLOAT": "float32", "DOUBLE": "float64"}
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_FUNCTIONS = frozenset({"Max", "Min", "Mod", "floor", "ceiling", "max", "min", "floordiv", "FloorDiv"})
"""What a dimension's expression may call: `past + sequence` and `floor(width/2)` are made of inputs' axes alone."""

_UNCOUNTED = (ir.DataType.INT64, ir.DataType.STRING)

MERGED_SIZE = 1024
"""Elements up to which onnxscript's optimizer merges equal initializers."""


def interface_of(model: ir.Model) -> Interface:
    """Read what `model` promises.

    An axis of an output whose name no input declares is None: torchscript makes such names up from its nodes
    (``Wheremask_dim_0``), and they change with every refactoring.

    ```python
    interface_of(ir.load("model.onnx")).inputs   # (Port("input_ids", "int64", ("batch", "sequence")),)
    ```
    """
    given = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    inputs = tuple(_port(value, None) for value in given)
    axes = {dim for port in inputs for dim in port.dims or () if isinstance(dim, str)}
    return Interface(
        inputs=inputs,
        outputs=tuple(_port(value, axes) for value in model.graph.outputs),
        opsets=tuple(sorted(model.opset_imports.items())),
        ir_version=model.ir_version,
        external=any(isinstance(tensor, ir.ExternalTensor) for _, tensor in _initializers(model)),
        bytes=_bytes(model),
        merged_bytes=_merged_bytes(model),
        metadata=tuple(sorted(model.metadata_props)),
        domains=tuple(sorted({node.domain for node in all_nodes(model)})),
        unread=tuple(value.name or "" for value in given if not value.uses() and not value.is_graph_output()),
        node_names=node_scheme(model.graph),
        weight_names=weight_scheme(model.graph),
    )


def _port(value: ir.Value, axes: Collection[str] | None) -> Port:
    dims = None if value.shape is None else tuple(_dim(dim, axes) for dim in value.shape)
    return Port(value.name or "", _type_name(value.type), dims)


def _dim(dim: int | ir.SymbolicDim, axes: Collection[str] | None) -> Dim:
    if isinstance(dim, int):
        return dim
    name = dim.value
    if name is None or axes is None:
        return name
    return name if set(_IDENTIFIER.findall(name)) <= {*axes, *_FUNCTIONS} else None


def _type_name(kind: ir.TypeProtocol | None) -> str:
    match kind:
        case None:
            return "?"
        case ir.SequenceType():
            return f"seq({_type_name(kind.elem_type)})"
        case ir.OptionalType():
            return f"optional({_type_name(kind.elem_type)})"
        case ir.SparseTensorType():
            return f"sparse({dtype_name(kind.dtype)})"
        case _:
            return dtype_name(kind.dtype)


def dtype_name(dtype: ir.DataType) -> str:
    """``"float32"`` where ONNX says FLOAT; otherwise its own name in small letters."""
    return _DTYPE.get(dtype.name, dtype.name.lower())


def _initializers(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value


def _bytes(model: ir.Model) -> tuple[tuple[str, int], ...]:
    found: Counter[str] = Counter()
    for _, tensor in _initializers(model):
        if tensor.dtype not in _UNCOUNTED:
            found[dtype_name(tensor.dtype)] += tensor.nbytes
    return tuple(sorted(found.items()))


def _merged_bytes(model: ir.Model) -> tuple[tuple[str, tuple[int, int]], ...]:
    """See `Interface.merged_bytes`. What no node reads is no exporter's doing: then nothing is explained by merging."""
    fewest: Counter[str] = Counter()
    most: Counter[str] = Counter()
    shapes = set()
    for value, tensor in _initializers(model):
        if tensor.dtype in _UNCOUNTED:
            continue
        name, small = dtype_name(tensor.dtype), tensor.size <= MERGED_SIZE
        most[name] += tensor.nbytes * (max(1, len(value.uses())) if small else 1)
        shape = (name, tuple(tensor.shape))
        fewest[name] += 0 if small and shape in shapes else tensor.nbytes
        shapes.add(shape)
    if any(not value.uses() and not value.is_graph_output() for value, _ in _initializers(model)):
        return ()
    return tuple((name, (fewest[name], most[name])) for name in sorted(most))
