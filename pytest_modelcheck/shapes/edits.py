"""What was edited in a graph since its shapes were derived."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.partial_inference import is_shape_tensor


class Edits:
    """Nodes and values about which there may be other answers now.

    Attributes:
        nodes: Nodes that were put in, or whose inputs or attributes were exchanged.
        values: Values whose declared type or shape was changed.
        inferred: Those that inference has changed.
        replaced: Value -> the value that its readers read now.
    """

    def __init__(self) -> None:
        self.nodes: dict[ir.Node, None] = {}
        self.values: dict[ir.Value, None] = {}
        self.inferred: dict[ir.Value, None] = {}
        self.replaced: dict[ir.Value, ir.Value] = {}

    def edited(self, nodes: Iterable[ir.Node]) -> None:
        """Note nodes; see `nodes`."""
        self.nodes.update(dict.fromkeys(nodes))

    def declared(self, values: Iterable[ir.Value]) -> None:
        """Note values; see `values`."""
        self.values.update(dict.fromkeys(values))

    def add(self, other: Edits) -> None:
        """Note what `other` has noted, after it."""
        self.nodes.update(other.nodes)
        self.values.update(other.values)
        self.inferred.update(other.inferred)
        self.replaced.update(other.replaced)

    def concerned(self) -> set[ir.Node]:
        """The nodes of which inference may say something else now, but for what follows from that."""
        pairs = ((old, self.replacement(old)) for old in self.replaced)
        read = {**self.values, **{new: None for old, new in pairs if _may_tell_more(old, new)}}  # thousands become one
        makers = [producer for value in self.values if (producer := value.producer()) is not None]
        return {*self.nodes, *makers, *(use.node for value in read for use in value.uses())}

    def replacement(self, value: ir.Value) -> ir.Value:
        """What the readers of `value` read in the end."""
        seen = {value}
        while (after := self.replaced.get(value)) is not None and after not in seen:
            seen.add(after)
            value = after
        return value


def _may_tell_more(old: ir.Value, new: ir.Value) -> bool:
    """Whether inference may know more of `new`, which has the same content as `old`."""
    if new.type != old.type or new.shape != old.shape or is_shape_tensor(new):
        return True
    return constant_tensor(new) is not None and constant_tensor(old) is None
