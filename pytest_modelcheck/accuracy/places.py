"""Where a node of an ONNX graph comes from, in the words of the model's author: module path and source line."""

from __future__ import annotations

import re
from pathlib import PurePath

import onnx_ir as ir

from pytest_modelcheck.graph.counts import op_label
from pytest_modelcheck.graph.metadata import contributors
from pytest_modelcheck.hierarchy.scopes import Scopes

STACK_TRACE_KEY = "pkg.torch.onnx.stack_trace"

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_UNKNOWN_TREE = Scopes.of(None)


def node_place(node: ir.Node, owner: str | None = None) -> str:
    """``Add 'node_Add_12' in encoder.layer.0.attention (modeling_bert.py:123, in forward)``, as far as it is known.

    Args:
        node: The node.
        owner: Path of its module, from whoever knows better than the node itself.
    """
    parts = [f"{op_label(node)} {node.name or node.outputs[0].name!r}"]
    owner = node_owner(node) if owner is None else owner
    if owner is not None:
        parts.append(f"in {owner or 'the root module'}")
    if source := source_line(node):
        parts.append(f"({source})")
    return " ".join(parts)


def node_owner(node: ir.Node) -> str | None:
    """The module path that owns the node: as stamped, else as the exporter says; None where neither does."""
    owners = contributors(node)
    return owners[0] if owners else _UNKNOWN_TREE.direct_owner(node)


def source_line(node: ir.Node) -> str | None:
    """The innermost source line of the user's forward that made the node; None where the exporter does not say."""
    frames = list(_FRAME.finditer(node.metadata_props.get(STACK_TRACE_KEY, "")))
    if not frames:
        return None
    last = frames[-1]
    return f"{PurePath(last['file']).name}:{last['line']}, in {last['function']}"


def read_by(node: ir.Node) -> list[ir.Value]:
    """What a node reads: its inputs, and what its subgraphs read from outside."""
    values = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        graphs = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        for graph in graphs:
            values += [value for inner in graph.all_nodes() for value in inner.inputs if value is not None]
    return values
