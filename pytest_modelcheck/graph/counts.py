"""Counting nodes, by the one rule every figure here uses.

"Nodes" are the nodes of the graph, its subgraphs and its functions, `Constant` nodes left out: an exporter writes the
same value as a Constant node or as an initializer, and that choice is not work at run time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx_ir as ir


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of the graph, its subgraphs and the model's functions, Constants included, in graph order."""
    yield from nodes_within(model.graph)
    for function in model.functions.values():
        yield from nodes_within(function)


def nodes_within(graph: Iterable[ir.Node]) -> Iterator[ir.Node]:
    """As `ir.Graph.all_nodes`, without its generator per node: hardly any node holds a subgraph."""
    for node in graph:
        yield node
        for attribute in node.attributes.data.values():
            if attribute.type is ir.AttributeType.GRAPH:
                yield from nodes_within(attribute.as_graph())
            elif attribute.type is ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    yield from nodes_within(inner)


def is_constant(node: ir.Node) -> bool:
    """Whether `node` is a standard ``Constant`` node."""
    return node.op_type == "Constant" and node.domain == ""


def op_label(node: ir.Node) -> str:
    """``"MatMul"`` for standard operators, ``"com.microsoft:FusedConv"`` for every other domain."""
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def op_counts(model: ir.Model) -> dict[str, int]:
    """Nodes per operator, Constants left out, sorted by name."""
    return dict(sorted(Counter(op_label(node) for node in all_nodes(model) if not is_constant(node)).items()))


def count_nodes(model: ir.Model, *, constants: bool = False) -> int:
    """The number of nodes; with `constants`, the number of Constant nodes is included."""
    return sum(1 for node in all_nodes(model) if constants or not is_constant(node))
