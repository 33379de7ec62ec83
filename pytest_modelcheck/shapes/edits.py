"""What was edited in a graph since its shapes were derived."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


class Edits:
    """Nodes and values about which there may be other answers now.

    Attributes:
        nodes: Nodes that were put in, or whose inputs or attributes were exchanged.
        values: Values whose declared type or shape was changed.
        replaced: Value -> the value that its readers read now.
    """

    def __init__(self) -> None:
        self.nodes: dict[ir.Node, None] = {}
        self.values: dict[ir.Value, None] = {}
        self.replaced: dict[ir.Value, ir.Value] = {}

    def edited(self, nodes: Iterable[ir.Node]) -> None:
        """Note nodes; see `nodes`."""
        self.nodes.update(dict.fromkeys(nodes))

    def declared(self, values: Iterable[ir.Value]) -> None:
        """Note values; see `values`."""
        self.values.update(dict.fromkeys(values))

    def replacement(self, value: ir.Value) -> ir.Value:
        """What the readers of `value` read in the end."""
        seen = {value}
        while (after := self.replaced.get(value)) is not None and after not in seen:
            seen.add(after)
            value = after
        return value
