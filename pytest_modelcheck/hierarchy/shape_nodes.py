"""Which nodes compute the model's data, and which only compute shapes for it.

The rule, in order; every node falls under exactly one of the three:

1. *constant*: a ``Constant`` node.
2. *plumbing*: ``Shape`` and ``Size``; and a node all of whose results are read only as shape operands
   (`SHAPE_OPERANDS`: the ``shape`` of Reshape and Expand, the ``starts/ends/axes/steps`` of Slice, the ``axes`` of
   Unsqueeze, ...) or by plumbing. A graph output is never plumbing, and neither is a node that nothing reads.
3. *compute*: everything else. Coverage is over these.

A node that computes both a shape and data is compute: doubt goes to the side that can fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes, is_constant

SHAPE_OPERANDS: dict[str, frozenset[int]] = {
    "Reshape": frozenset({1}),
    "Expand": frozenset({1}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Squeeze": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Split": frozenset({1}),
    "Tile": frozenset({1}),
    "Pad": frozenset({1, 3}),
    "Resize": frozenset({2, 3}),
    "Upsample": frozenset({1}),
    "ConstantOfShape": frozenset({0}),
    "Range": frozenset({0, 1, 2}),
    "OneHot": frozenset({1}),
    "TopK": frozenset({1}),
    "CenterCropPad": frozenset({1}),
    "AffineGrid": frozenset({1}),
    **{
        f"Reduce{how}": frozenset({1})
        for how in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
}
"""Operator -> the positions of the inputs that say how data is laid out, not what it is (ONNX operator pages)."""


@dataclass(frozen=True, slots=True)
class NodeRoles:
    """The nodes of a model (graph, subgraphs, functions) by role, each in graph order."""

    compute: tuple[ir.Node, ...]
    plumbing: tuple[ir.Node, ...]
    constants: tuple[ir.Node, ...]


def node_roles(model: ir.Model) -> NodeRoles:
    """Sort the nodes of `model` by the rule above."""
    nodes = list(all_nodes(model))
    plumbing: set[ir.Node] = set()
    # Readers of a value come after its producer, so one sweep from the back settles every node; nodes of a subgraph
    # are listed with their scope, and what they read from outside is settled after them in the same way.
    for node in reversed(nodes):
        if not is_constant(node) and _is_plumbing(node, plumbing):
            plumbing.add(node)
    return NodeRoles(
        tuple(node for node in nodes if not is_constant(node) and node not in plumbing),
        tuple(node for node in nodes if node in plumbing),
        tuple(node for node in nodes if is_constant(node)),
    )


def _is_plumbing(node: ir.Node, plumbing: set[ir.Node]) -> bool:
    if node.domain == "" and node.op_type in ("Shape", "Size"):
        return not any(output.is_graph_output() for output in node.outputs)
    uses = list(_uses(node))
    if not uses or any(output.is_graph_output() for output in node.outputs):
        return False
    return all(reader in plumbing or _is_shape_operand(reader, index) for reader, index in uses)


def _uses(node: ir.Node) -> Iterator[tuple[ir.Node, int]]:
    for output in node.outputs:
        yield from ((use.node, use.idx) for use in output.uses())


def _is_shape_operand(reader: ir.Node, index: int) -> bool:
    return reader.domain == "" and index in SHAPE_OPERANDS.get(reader.op_type, ())
