"""Scopes of a model: what owns nodes, what a subgraph captures, and which names are taken."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

Scope = ir.Graph | ir.Function
"""What owns nodes: the main graph, a subgraph of If/Loop/Scan, or a function."""


def all_scopes(model: ir.Model) -> Iterator[Scope]:
    """The main graph, then every subgraph, then every function and its subgraphs."""
    yield model.graph
    yield from model.graph.subgraphs()
    for function in model.functions.values():
        yield function
        yield from function.subgraphs()


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that are attributes of `node`, not those nested inside them."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def captured(node: ir.Node) -> Iterator[ir.Value]:
    """Values of outer scopes that the subgraphs of `node` read."""
    for graph in subgraphs(node):
        for inner in graph.all_nodes():
            yield from (value for value in inner.inputs if value is not None and value.graph is not inner.graph)


def detach_subgraphs(node: ir.Node) -> None:
    """Take the subgraphs of a dying node apart, so that what they captured counts as unread and no pass visits them."""
    for graph in subgraphs(node):
        inner_nodes = tuple(graph)
        for inner in inner_nodes:
            detach_subgraphs(inner)
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
        graph.outputs.clear()
        graph.remove(inner_nodes)


def taken_names(model: ir.Model) -> set[str]:
    """Every name of a value or a node, in any scope."""
    names: set[str] = set()
    for scope in all_scopes(model):
        names.update(value.name for value in scope.inputs if value.name)
        if isinstance(scope, ir.Graph):
            names.update(scope.initializers)
        for node in scope:
            names.update(output.name for output in node.outputs if output.name)
            if node.name:
                names.add(node.name)
    return names
