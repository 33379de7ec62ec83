"""Connected parts of a graph that can work on the flattened view, and what it costs to enter and leave them.

A region is worth flattening where the MatMul+Add pairs that become Gemm, and the Reshapes to and from the view that it
makes needless, outnumber the Reshapes at its border.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.passes.flattening.roles import Lead, Role, role_of
from pytest_modelcheck.rewriting import Rewriter, Scope
from pytest_modelcheck.rewriting.matching import produced_by
from pytest_modelcheck.shapes.dims import product
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes


@dataclass(slots=True)
class Region:
    """Nodes of one scope that work on values with the same leading axes."""

    lead: Lead
    roles: dict[ir.Node, Role] = field(default_factory=dict)

    def entries(self) -> list[ir.Value]:
        """Values from outside that nodes inside read as the view, in order."""
        values = dict.fromkeys(value for role in self.roles.values() for value in role.operands)
        return [value for value in values if value.producer() not in self.roles]

    def exits(self) -> list[ir.Value]:
        """Values made inside that something outside reads, or that are graph outputs, in order."""
        made = (output for node in self.roles for output in node.outputs)
        return [v for v in made if v.is_graph_output() or any(use.node not in self.roles for use in v.uses())]


def find_regions(rewriter: Rewriter, scope: Scope) -> list[Region]:
    """The connected regions of one scope, in graph order."""
    roles = {node: role for node in scope if (role := role_of(rewriter, node)) is not None}
    order = {node: index for index, node in enumerate(roles)}
    regions: list[Region] = []
    seen: set[ir.Node] = set()
    for start in roles:
        if start in seen:
            continue
        members: set[ir.Node] = set()
        met: set[ir.Value] = set()
        stack = [start]
        while stack:
            node = stack.pop()
            if node in members:
                continue
            members.add(node)
            stack.extend(
                n for n in _neighbours(node, roles, met) if n not in members and roles[n].lead == roles[start].lead
            )
        seen |= members
        in_order = sorted(members, key=order.__getitem__)
        regions.append(Region(roles[start].lead, {node: roles[node] for node in in_order}))
    return regions


def _neighbours(node: ir.Node, roles: dict[ir.Node, Role], met: set[ir.Value]) -> Iterable[ir.Node]:
    """What `node` shares a value with; the readers of a value are listed once, where it is first `met`."""
    for value in roles[node].operands:
        producer = value.producer()
        if producer in roles:
            yield producer
    for value in (*roles[node].operands, *node.outputs):  # of an operand: its other readers share the one view of it
        if value in met:
            continue
        met.add(value)
        for use in value.uses():
            if use.node in roles and value in roles[use.node].operands:
                yield use.node


class Balance:
    """What flattening saves and costs, value by value."""

    def __init__(self, shapes: SymbolicShapes, region: Region) -> None:
        self._shapes = shapes
        self.region = region

    def total(self) -> int:
        """Nodes saved (positive) or added (negative), computed targets of Reshapes left out."""
        values = dict.fromkeys(
            value for node, role in self.region.roles.items() for value in (*role.operands, *node.outputs)
        )
        return sum(self._of(value) for value in values) + sum(is_pair(node, self.region) for node in self.region.roles)

    def prune(self) -> None:
        """Take out nodes without which the balance is better, until there is none."""
        queue = deque(self.region.roles)
        while queue:
            node = queue.popleft()
            role = self.region.roles.get(node)
            if role is None:
                continue
            before = self._around(node, role)
            del self.region.roles[node]
            if self._around(node, role) <= before:
                self.region.roles[node] = role
                continue
            queue.extend(n for n in _neighbours_of(node, role) if n in self.region.roles)

    def _around(self, node: ir.Node, role: Role) -> int:
        values = dict.fromkeys((*role.operands, *node.outputs))
        pairs = {node, *_neighbours_of(node, role)}
        return sum(self._of(value) for value in values) + sum(is_pair(n, self.region) for n in pairs)

    def _of(self, value: ir.Value) -> int:
        """The balance of one value at the border; 0 for values inside and outside."""
        roles = self.region.roles
        if value.producer() not in roles and is_constant(value):
            return 0  # the view of a constant is folded
        readers = [use.node for use in value.uses()]
        inside = [node for node in readers if node in roles and value in roles[node].operands]
        if value.producer() in roles:
            outside = [node for node in readers if node not in roles]
            flattened = sum(is_view(self._shapes, node, value) for node in outside)
            return flattened - (value.is_graph_output() or not all(is_reshape_of(node, value) for node in outside))
        if not inside:
            return 0
        reshape = produced_by(value, "Reshape")
        if reshape is None or value.is_graph_output() or len(inside) < len(readers):
            return -1
        return int(is_unflattening(self._shapes, reshape))


def _neighbours_of(node: ir.Node, role: Role) -> list[ir.Node]:
    producers = [producer for value in role.operands if (producer := value.producer()) is not None]
    return list(dict.fromkeys([*producers, *(use.node for output in node.outputs for use in output.uses())]))


def is_pair(node: ir.Node, region: Region) -> bool:
    """Whether `node` is a MatMul of the region whose one reader is an Add of the region."""
    if node not in region.roles or node.op_type != "MatMul" or not read_once(node.outputs[0]):
        return False
    (use,) = node.outputs[0].uses()
    return use.node in region.roles and use.node.op_type == "Add" and use.node.inputs[0] is not use.node.inputs[1]


def is_reshape_of(node: ir.Node, value: ir.Value) -> bool:
    """Whether `node` is a Reshape of `value`."""
    return node.op_type == "Reshape" and node.domain == "" and node.inputs[0] is value


def is_view(shapes: SymbolicShapes, node: ir.Node, value: ir.Value) -> bool:
    """Whether `node` reshapes `value` to its flattened view (and would be needless)."""
    shape = shapes.shape(value)
    if not is_reshape_of(node, value) or shape is None or node.outputs[0].is_graph_output():
        return False
    return shapes.shape(node.outputs[0]) == (product(shape[:-1]), shape[-1])


def is_unflattening(shapes: SymbolicShapes, node: ir.Node) -> bool:
    """Whether the Reshape `node` makes its output from the flattened view of it."""
    shape = shapes.shape(node.outputs[0])
    return shape is not None and shapes.shape(node.inputs[0]) == (product(shape[:-1]), shape[-1])
