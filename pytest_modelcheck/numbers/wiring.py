"""What each output of an .onnx file is computed from, as a digest: operators, attributes, constants and wiring.

Names of nodes and inner values, documentation, the order of independent nodes and declared shapes play no part; weights
do by their names, so that other values of a weight leave the digest as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import onnx_ir as ir

_Known = dict[ir.Value | None, str]


def wiring_of(model: ir.Model) -> dict[str, str]:
    """Output name -> 12 hexadecimal digits.

    ```
    y = Sub(a, b)      # {"y": "5c1f8a90d2e4"}, and another digest for Sub(b, a)
    ```
    """
    bodies = {key: _digest(*_graph(function, {})) for key, function in model.functions.items()}
    functions = {":".join(key): digest for key, digest in bodies.items()}
    found = _graph(model.graph, {}, functions)
    return {value.name or "": digest[:12] for value, digest in zip(model.graph.outputs, found, strict=True)}


def _graph(graph: ir.Graph | ir.Function, outer: _Known, functions: Mapping[str, str] | None = None) -> list[str]:
    """One digest for each output; `outer` knows the values around a subgraph."""
    known: _Known = {None: "-", **outer}
    for place, value in enumerate(graph.inputs):
        known[value] = _digest("input", value.name if functions is not None else str(place))
    if isinstance(graph, ir.Graph):
        known |= {value: _digest("initializer", name) for name, value in graph.initializers.items()}
    for node in graph:
        attributes = [f"{name}={_attribute(node.attributes[name], known)}" for name in sorted(node.attributes)]
        called = (functions or {}).get(":".join(node.op_identifier()), "")
        operands = [known.get(value, "?") for value in node.inputs]
        made = _digest(node.domain, node.op_type, called, *attributes, "<-", *operands)
        for place, value in enumerate(node.outputs):
            known[value] = _digest(made, str(place))
    return [known[value] for value in graph.outputs]


def _attribute(attribute: ir.Attr, known: _Known) -> str:
    if attribute.is_ref():
        return f"@{attribute.ref_attr_name}"
    match attribute.type:
        case ir.AttributeType.GRAPH:
            return _digest(*_graph(attribute.as_graph(), known))
        case ir.AttributeType.GRAPHS:
            return _digest(*(part for graph in attribute.as_graphs() for part in _graph(graph, known)))
        case ir.AttributeType.TENSOR:
            return _tensor(attribute.as_tensor())
        case ir.AttributeType.TENSORS:
            return _digest(*map(_tensor, attribute.as_tensors()))
        case _:
            return repr(attribute.value)


def _tensor(tensor: ir.TensorProtocol) -> str:
    return _digest(tensor.dtype.name, repr(tuple(tensor.shape.numpy())), hashlib.sha256(tensor.tobytes()).hexdigest())


def _digest(*parts: str | None) -> str:
    return hashlib.sha256("\0".join(part or "" for part in parts).encode()).hexdigest()
