"""Scopes of a model: what owns nodes, what a subgraph captures, and which names are taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

Scope = ir.Graph | ir.Function
"""What owns nodes: the main graph, a subgraph of If/Loop/Scan, or a function."""


def all_scopes(model: ir.Model) -> dict[Scope, Scope | None]:
    """Every scope with the one around it: the main graph and every subgraph in it, then every function likewise."""
    scopes: dict[Scope, Scope | None] = {}
    roots: list[Scope] = [*model.functions.values()]
    pending: list[tuple[Scope, Scope | None]] = [(root, None) for root in (*reversed(roots), model.graph)]
    while pending:
        scope, around = pending.pop()
        scopes[scope] = around
        pending += [(graph, scope) for graph in reversed(_within(scope))]
    return scopes


def graphs(model: ir.Model) -> list[ir.Graph]:
    """The main graph and every subgraph in it; what belongs to functions has no initializers."""
    found = [model.graph]
    for graph in found:
        found += _within(graph)
    return found


_NESTED = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _within(scope: Scope) -> list[ir.Graph]:
    """The subgraphs of the nodes of `scope`. Looks at ``data``: a mapping's own views take three times as long."""
    with_attributes = [(node, attributes) for node in scope if (attributes := node.attributes.data)]
    nodes = [node for node, attributes in with_attributes if any(a.type in _NESTED for a in attributes.values())]
    return [graph for node in nodes for graph in subgraphs(node)]


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The graphs that are attributes of `node`, not those nested inside them."""
    for attribute in node.attributes.data.values():
        if attribute.type not in _NESTED or attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        else:
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


def is_sorted(scope: Scope) -> bool:
    """Whether every node comes after all that it reads: sorting, which takes five times as long, changes nothing.

    False, too, where a node has a subgraph.
    """
    behind: set[ir.Node] = set()
    for node in scope:
        if node.attributes and any(True for _ in subgraphs(node)):
            return False
        for value in node.inputs:
            if value is not None and (producer := value.producer()) is not None and producer not in behind:
                return False
        behind.add(node)
    return True


def taken_names(scopes: Iterable[Scope]) -> set[str]:
    """Every name of a value or a node in these scopes."""
    names: set[str] = set()
    for scope in scopes:
        names.update(value.name for value in scope.inputs if value.name)
        if isinstance(scope, ir.Graph):
            names.update(scope.initializers)
        for node in scope:
            names.update(output.name for output in node.outputs if output.name)
            if node.name:
                names.add(node.name)
    return names
