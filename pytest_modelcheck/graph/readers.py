"""Who reads a value, asked without copying the list of its readers.

``ir.Value.uses`` makes a tuple of all of them. A constant that every layer shares has as many readers as the model has
layers: a pass that asks for them at each layer takes time that grows with the square of the model.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir


def reads(value: ir.Value) -> int:
    """How often nodes read `value`; a node that reads it twice counts twice."""
    return len(_uses(value))


def is_needed(value: ir.Value) -> bool:
    """Whether a node reads `value`, or it is a graph output."""
    return value.is_graph_output() or len(_uses(value)) > 0


def read_outside(value: ir.Value, nodes: Collection[ir.Node]) -> bool:
    """Whether a node that is not among `nodes` reads `value`."""
    return any(node not in nodes for node, _ in _uses(value))


def _uses(value: ir.Value) -> Collection[tuple[ir.Node, int]]:
    """What ``value.uses()`` would copy; onnx_ir has no public name for it. Not to be kept over an edit."""
    uses: Collection[tuple[ir.Node, int]] = value._uses
    return uses
