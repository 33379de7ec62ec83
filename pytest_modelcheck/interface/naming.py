"""How the nodes and the weights of a graph are named: what lists of names in other tools rely on.

A quantizer's list of excluded nodes, or an adapter that replaces weights, finds them by name. Single names carry
counters and change with every line of code; the scheme behind them does not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import onnx_ir as ir

BY_MODULE = "by-module"
UNNAMED = "-"
_COUNTED = re.compile(r"\D*\d+")
_FIRST_PART = re.compile(r"[^/._:]*[/._:]")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def node_scheme(graph: ir.Graph) -> str:
    """``"/..."`` (a module's path), ``"node_..."``, ``"<Operator>_..."``, ``"n#"`` (a letter and a number).

    That of most nodes, Constants left out.
    """
    return _commonest(_node_scheme(node) for node in graph if node.op_type != "Constant")


def _node_scheme(node: ir.Node) -> str:
    name = node.name or ""
    if name.startswith(node.op_type):
        return "<Operator>..."
    if (start := _FIRST_PART.match(name)) is not None:
        return f"{start[0]}..."
    return re.sub(r"\d+", "#", name) if _COUNTED.fullmatch(name) else "..." if name else UNNAMED


def weight_scheme(graph: ir.Graph) -> str:
    """``"by-module"`` where some floating point initializer has the name of a parameter; else as for nodes."""
    names = [
        name
        for name, value in graph.initializers.items()
        if value.dtype in _FLOATS and value.shape is not None and len(value.shape)
    ]
    schemes = [re.sub(r"\d+", "#", name) if _COUNTED.fullmatch(name) or "::" in name else BY_MODULE for name in names]
    return BY_MODULE if BY_MODULE in schemes else _commonest(schemes)


def _commonest(schemes: Iterable[str]) -> str:
    counts = Counter(schemes)
    return min(counts, key=lambda scheme: (-counts[scheme], scheme)) if counts else UNNAMED
