"""Names by which nodes are found again: the values they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes


def named_outputs(model: ir.Model) -> Iterator[tuple[ir.Node, tuple[str, ...]]]:
    """Every node with the keys of its named outputs, in graph order.

    A key is the value's name. Branches of an If and bodies of functions may use a name that another scope has used: its
    second value is ``name#2``, so that neither hides the other.
    """
    seen: Counter[str] = Counter()
    for node in all_nodes(model):
        keys = []
        for output in node.outputs:
            if output.name:
                seen[output.name] += 1
                count = seen[output.name]
                keys.append(output.name if count == 1 else f"{output.name}#{count}")
        yield node, tuple(keys)
