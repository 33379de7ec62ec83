"""``eliminate_common_subexpressions``: what is computed twice from the same values is computed once.

1. Two nodes of one scope with the same operator, the same input values and the same attributes give the same outputs;
   the first stays. In topological order, so that chains of equal nodes fall together in one sweep.
   Where one leaves optional outputs out (the indices of a MaxPool), the one with more outputs stays.

Left alone: operators that draw random numbers, operators with subgraphs, operators of other domains (nothing is known
about them), Constant nodes (``eliminate_duplicate_constants``), and the QuantizeLinear and DequantizeLinear of a
quantized model: runtimes fuse each with the operator beside it, and one that two operators share with neither. Every
layer of a transformer export makes its own mask of the same padding; that is what this finds there.
"""

from __future__ import annotations

from collections.abc import Hashable, Set

import onnx_ir as ir

from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.shared_constants import content_key
from pytest_modelcheck.shapes.evaluate import RANDOM

_LEFT_ALONE = RANDOM | {"Constant", "DequantizeLinear", "Dropout", "QuantizeLinear"}
_OPTIONAL_OUTPUTS = {"Attention", "GRU", "LSTM", "LayerNormalization", "MaxPool", "RNN", "Unique"}
"""Whose outputs are the same whichever are asked for: those of Split are not, nor those of BatchNormalization-9."""


class EliminateCommonSubexpressions(Pass):
    name = "eliminate_common_subexpressions"

    def rewrite(self, rewriter: Rewriter) -> None:
        merge_equal_nodes(rewriter)


def merge_equal_nodes(rewriter: Rewriter, *, among: Set[ir.Node] | None = None) -> None:
    """Rule 1 in every scope; with `among`, only where one of the two is one of these nodes."""
    first: dict[Hashable, ir.Node] = {}
    for node in rewriter.nodes():
        key = _key(node)
        if key is None:
            continue
        kept, gone = first.setdefault((node.graph, key), node), node
        if kept is node or (among is not None and among.isdisjoint((node, kept))):
            continue
        if not _used(gone) <= _used(kept):
            kept, gone = gone, kept
        pairs = {old: new for old, new in zip(gone.outputs, kept.outputs, strict=False) if old.name}
        if not _used(gone) <= _used(kept):
            rewriter.refuse("each has a result that the other leaves out", node)
        elif all(rewriter.can_replace_value(old, new) for old, new in pairs.items()):
            rewriter.replace([gone], [], pairs)
            first[node.graph, key] = kept
        else:
            rewriter.refuse("both results are graph outputs", node)


def _key(node: ir.Node) -> Hashable | None:
    """Equal for nodes that compute the same; None for nodes that are left alone."""
    if node.domain != "" or node.op_type in _LEFT_ALONE or not node.outputs:
        return None
    attributes = [(name, a.type, _attribute_key(a)) for name, a in sorted(node.attributes.items())]
    if any(key is None for _, _, key in attributes):
        return None
    outputs = None if node.op_type in _OPTIONAL_OUTPUTS else len(node.outputs)
    return (node.op_type, tuple(node.inputs), tuple(attributes), outputs)


def _used(node: ir.Node) -> set[int]:
    return {index for index, output in enumerate(node.outputs) if output.name}


def _attribute_key(attribute: ir.Attr) -> Hashable | None:
    if attribute.ref_attr_name is not None:
        return ("reference", attribute.ref_attr_name)
    if attribute.type == ir.AttributeType.TENSOR:
        return content_key(attribute.as_tensor())
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.FLOATS, ir.AttributeType.STRINGS):
        return tuple(attribute.value)
    return attribute.value if isinstance(attribute.value, (int, float, str, bytes)) else None
