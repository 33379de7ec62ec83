"""Who reads a value, asked without copying the list of its readers.

``ir.Value.uses`` makes a tuple of all of them. A constant that every layer shares has as many readers as the model has
layers: a pass that asks for them at each layer takes time that grows with the square of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx_ir as ir

from pytest_modelcheck.graph.scopes import Scope


def reads(value: ir.Value) -> int:
    """How often nodes read `value`; a node that reads it twice counts twice."""
    return len(_uses(value))


def is_needed(value: ir.Value) -> bool:
    """Whether a node reads `value`, or it is a graph output."""
    return value.is_graph_output() or len(_uses(value)) > 0


def read_outside(value: ir.Value, nodes: Collection[ir.Node]) -> bool:
    """Whether a node that is not among `nodes` reads `value`."""
    return any(node not in nodes for node, _ in _uses(value))


def read_once(value: ir.Value) -> bool:
    """Whether `value` is read exactly once and is not a graph output: free to disappear into a rewrite."""
    return len(_uses(value)) == 1 and not value.is_graph_output()


def order_uses(scopes: Iterable[Scope]) -> None:
    """List the readers of every value in the order of `scopes` and of their nodes.

    Linear in the number of uses: ``replace_input_with`` copies all inputs of the node for each one that it exchanges.
    """
    position = {node: number for number, node in enumerate(node for scope in scopes for node in scope)}
    values = dict.fromkeys(value for node in position for value in node.inputs if value is not None)
    for value in values:
        uses = _uses(value)
        if len(uses) < 2:
            continue
        ordered = sorted(uses, key=lambda use: (position.get(use[0], -1), use[1]))
        if ordered != list(uses):
            uses.clear()
            uses.update(dict.fromkeys(ordered))


def _uses(value: ir.Value) -> dict[tuple[ir.Node, int], None]:
    """What ``value.uses()`` would copy; onnx_ir has no public name for it. Not to be kept over an edit."""
    uses: dict[tuple[ir.Node, int], None] = value._uses  # type: ignore[assignment]
    return uses
