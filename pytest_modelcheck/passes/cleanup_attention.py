"""``cleanup_attention``: less work around ``softmax(q @ k) @ v``, found by data flow.

For every attention (`attention.finding`), in this order; for the targets ``opset23`` and ``onnxruntime`` the whole
attention becomes one operator where it can (`attention.operator`), and of the rest only rule 4 applies:

1. The NaN guard behind the Softmax is dropped where no row can be empty (`attention.nan_guard`).
2. All scalings become part of a projection's weight, or one Mul (`attention.scaling`).
3. Reshape and Transpose chains of q, k, v and the context become the shortest equivalent ones (`attention.reshaping`).
4. Projections of one input become one product and a Split (`attention.projections`), and their heads move behind it
   (`attention.heads`).
5. Where they do not, and all layers project keys of one long memory, these come out transposed (`attention.keys`).
6. What all this leaves behind, shapes computed once more above all, is tidied up (`tidying`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from pytest_modelcheck.passes.attention import heads, keys, nan_guard, operator, projections, reshapes, scales
from pytest_modelcheck.passes.attention.derived import DerivedConstants
from pytest_modelcheck.passes.attention.masks import SoftMasks
from pytest_modelcheck.passes.attention.search import Attention, find_attention
from pytest_modelcheck.passes.tidy import tidy
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_STOPS, _MAX_VISITED = ("MatMul", "Gemm", "Softmax"), 60
_RULES = ("nan guard", "scale", "layout", "operator", "projections", "heads", "keys", "tidy")


@dataclass(frozen=True)
class CleanupAttention(Pass):
    name: ClassVar[str] = "cleanup_attention"
    rules: ClassVar[tuple[str, ...]] = _RULES

    def rewrite(self, rewriter: Rewriter) -> None:
        if not any(True for _ in rewriter.nodes("Softmax")):
            return
        rewriter.order_uses()
        shapes, derived = rewriter.shapes(), DerivedConstants(rewriter)
        soft_masks = SoftMasks(rewriter, derived)
        for node in rewriter.nodes():  # before the first rewrite: a new operator may tell less about its output
            for output in node.outputs:
                shapes.shape(output)
        for softmax in rewriter.nodes("Softmax"):
            if (attention := find_attention(softmax)) is not None:
                _clean(rewriter, shapes, derived, soft_masks, attention)
        rewriter.begin_rule("keys")
        keys.turn(rewriter, shapes, derived, rewriter.nodes("Softmax"))
        tidy(rewriter)


def _clean(
    rewriter: Rewriter, shapes: SymbolicShapes, derived: DerivedConstants, soft_masks: SoftMasks, attention: Attention
) -> None:
    rewriter.begin_rule("nan guard")
    nan_guard.try_drop(rewriter, attention)
    attention = find_attention(attention.softmax) or attention
    rewriter.begin_rule("layout")
    for operand in (*scales.all_scalings(attention)[1:], attention.operands[2]):
        reshapes.try_shorten(rewriter, shapes, reshapes.chain_before(operand))
    rewriter.begin_rule("operator")
    formed = operator.try_form(rewriter, shapes, soft_masks, attention)
    if formed is not None:
        rewriter.begin_rule("projections")
        split = projections.try_merge(rewriter, shapes, derived, formed)
        if split is not None:
            rewriter.begin_rule("heads")
            heads.try_hoist_reshapes(rewriter, shapes, split)
        return
    rewriter.begin_rule("scale")
    scales.try_fold(rewriter, derived, attention)
    rewriter.begin_rule("layout")
    for operand in attention.operands:
        reshapes.try_shorten(rewriter, shapes, reshapes.chain_before(operand))
    reshapes.try_shorten(rewriter, shapes, reshapes.chain_after(attention.context.outputs[0]))
    rewriter.begin_rule("projections")
    projections.try_merge(rewriter, shapes, derived, attention.operands)
    rewriter.begin_rule("heads")
    for split in _splits_behind(attention):
        heads.try_hoist(rewriter, shapes, split)


def _splits_behind(attention: Attention) -> list[ir.Node]:
    """The Split nodes that q, k and v are computed from, nearest first."""
    found: dict[ir.Node, None] = {}
    for operand in attention.operands:
        stack: list[ir.Value | None] = [operand]
        for _ in range(_MAX_VISITED):
            value = stack.pop() if stack else None
            node = None if value is None else value.producer()
            if node is None or node.graph is not attention.softmax.graph or node.op_type in _STOPS:
                continue
            if node.op_type == "Split" and node.domain == "":
                found.setdefault(node)
            stack.extend(node.inputs)
    return list(found)
