"""Removing what nothing reads any more: nodes, the producers that die with them, and initializers."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.readers import is_needed
from pytest_modelcheck.graph.scopes import captured, detach_subgraphs


def drop_if_dead(node: ir.Node) -> None:
    """Remove `node` where none of its outputs is needed, then what only it read."""
    stack = [node]
    while stack:
        node = stack.pop()
        scope = node.graph
        if scope is None or any(map(is_needed, node.outputs)):
            continue
        read = list(dict.fromkeys([*node.inputs, *captured(node)]))
        detach_subgraphs(node)
        scope.remove(node, safe=True)
        for value in read:
            if value is not None and (producer := _dropped_or_producer(value)) is not None:
                stack.append(producer)


def drop_value_if_dead(value: ir.Value) -> None:
    """Remove the initializer `value`, or the node that makes it, where nothing needs it."""
    if (producer := _dropped_or_producer(value)) is not None:
        drop_if_dead(producer)


def _dropped_or_producer(value: ir.Value) -> ir.Node | None:
    """Drop `value` if it is an initializer that nothing needs; else what makes it, where that may be dead now."""
    if is_needed(value) or value.is_graph_input():
        return None
    if value.is_initializer():
        graph = value.graph
        if graph is not None and value.name is not None:
            graph.initializers.pop(value.name, None)
        return None
    return value.producer()
