"""``eliminate_redundant_transposes``: make Transposes meet and cancel.

1. ``Transpose(Transpose(x, p), q) -> Transpose(x, p∘q)``, and nothing where the composition leaves the axes in order.

Source: https://onnx.ai/onnx/operators/onnx__Transpose.html (``output.shape[i] == input.shape[perm[i]]``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from pytest_modelcheck.passes.rewriting import Pass, Rewriter


@dataclass(frozen=True)
class EliminateRedundantTransposes(Pass):
    name: ClassVar[str] = "eliminate_redundant_transposes"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Transpose"):
            _try_compose(rewriter, node)


def permutation(node: ir.Node | None) -> tuple[int, ...] | None:
    """The order of axes of a Transpose; None for any other node, and where neither order nor rank is known."""
    if node is None or node.op_type != "Transpose" or node.domain != "":
        return None
    attribute = node.attributes.get("perm")
    if attribute is not None:
        return None if attribute.is_ref() else tuple(attribute.as_ints())
    value = node.inputs[0] if node.inputs and node.inputs[0] is not None else None
    shape = (value.shape if value is not None else None) or node.outputs[0].shape
    return None if shape is None else tuple(range(len(shape)))[::-1]


def _try_compose(rewriter: Rewriter, node: ir.Node) -> bool:
    source = node.inputs[0]
    inner = None if source is None else source.producer()
    if source is None or inner is None or inner.op_type != "Transpose" or inner.domain != "":
        return False
    second, first = permutation(node), permutation(inner)
    if first is None or second is None:
        return rewriter.refuse("the order of axes of a Transpose is not known", node)
    composed = tuple(first[axis] for axis in second)
    origin, output = inner.inputs[0], node.outputs[0]
    if origin is None:
        return False
    if composed == tuple(range(len(composed))):
        return rewriter.replace([node], [], {output: origin}, metadata_from=[node, inner])
    # Where the first Transpose is read elsewhere too it stays, and the second is as cheap as before.
    made = rewriter.node("Transpose", [origin], {"perm": composed}, like=output)
    return rewriter.replace([node], [made], {output: made.outputs[0]}, metadata_from=[inner, node])
