"""What the outputs of a graph are computed from, as digests: operators, attributes, constants and wiring.

Names of nodes and inner values, documentation, the order of independent nodes and declared shapes play no part. Nor do
the values of weights: `wiring_of` knows a weight by its name, as long as a file has it, `graph_digest` by its shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import onnx_ir as ir

from pytest_modelcheck.graph.constants import tensor_bytes

_Known = dict[ir.Value | None, str]

_Weight = Callable[[str, ir.Value], str]

SMALL = 64
"""Elements up to which an integer constant (a shape, axes, a permutation) counts by its values."""


def wiring_of(model: ir.Model) -> dict[str, str]:
    """Output name -> 12 hexadecimal digits.

    ```
    y = Sub(a, b)      # {"y": "5c1f8a90d2e4"}, and another digest for Sub(b, a)
    ```
    """
    return {name: digest[:12] for name, digest in _outputs(model, lambda name, value: name).items()}


def graph_digest(model: ir.Model) -> str:
    """12 hexadecimal digits, equal for graphs that are the same node for node, whatever their weights hold."""
    outputs = _outputs(model, _by_shape)
    return _digest(*(part for output in outputs.items() for part in output))[:12]


def _by_shape(name: str, value: ir.Value) -> str:
    tensor = value.const_value
    if tensor is None:
        return name
    counts = tensor.size == 1 or (tensor.size <= SMALL and not tensor.dtype.is_floating_point())
    return _tensor(tensor) if counts else f"{tensor.dtype.name} {tuple(tensor.shape.numpy())}"


def _outputs(model: ir.Model, weight: _Weight) -> dict[str, str]:
    bodies = {key: _digest(*_graph(function, {}, weight)) for key, function in model.functions.items()}
    functions = {":".join(key): digest for key, digest in bodies.items()}
    found = _graph(model.graph, {}, weight, functions)
    return {value.name or "": digest for value, digest in zip(model.graph.outputs, found, strict=True)}


def _graph(
    graph: ir.Graph | ir.Function, outer: _Known, weight: _Weight, functions: Mapping[str, str] | None = None
) -> list[str]:
    """One digest for each output; `outer` knows the values around a subgraph."""
    known: _Known = {None: "-", **outer}
    for place, value in enumerate(graph.inputs):
        known[value] = _digest("input", value.name if functions is not None else str(place))
    if isinstance(graph, ir.Graph):
        known |= {value: _digest("initializer", weight(name, value)) for name, value in graph.initializers.items()}
    for node in graph:
        attributes = [f"{name}={_attribute(node.attributes[name], known, weight)}" for name in sorted(node.attributes)]
        called = (functions or {}).get(":".join(node.op_identifier()), "")
        operands = [known.get(value, "?") for value in node.inputs]
        made = _digest(node.domain, node.op_type, called, *attributes, "<-", *operands)
        for place, value in enumerate(node.outputs):
            known[value] = _digest(made, str(place))
    return [known[value] for value in graph.outputs]


def _attribute(attribute: ir.Attr, known: _Known, weight: _Weight) -> str:
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    match attribute.type:
        case ir.AttributeType.GRAPH:
            return _digest(*_graph(attribute.as_graph(), known, weight))
        case ir.AttributeType.GRAPHS:
            return _digest(*(part for graph in attribute.as_graphs() for part in _graph(graph, known, weight)))
        case ir.AttributeType.TENSOR:
            return _tensor(attribute.as_tensor())
        case ir.AttributeType.TENSORS:
            return _digest(*map(_tensor, attribute.as_tensors()))
        case _:
            return repr(attribute.value)


def _tensor(tensor: ir.TensorProtocol) -> str:
    return _digest(
        tensor.dtype.name, repr(tuple(tensor.shape.numpy())), hashlib.sha256(tensor_bytes(tensor)).hexdigest()
    )


def _digest(*parts: str | None) -> str:
    return hashlib.sha256("\0".join(part or "" for part in parts).encode()).hexdigest()
