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

from pytest_modelcheck.passes.attention import heads, keys, nan_guard, operator, projections, reshapes, scales
from pytest_modelcheck.passes.attention.derived import DerivedConstants
from pytest_modelcheck.passes.attention.masks import SoftMasks
from pytest_modelcheck.passes.attention.search import Attention, find_attention, nodes_behind
from pytest_modelcheck.passes.tidy import tidy
from pytest_modelcheck.rewriting import Pass, Rewriter


class CleanupAttention(Pass):
    name = "cleanup_attention"
    moves_factors = True
    rules = ("nan guard", "scale", "layout", "operator", "projections", "heads", "keys", "tidy")

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
                _clean(rewriter, derived, soft_masks, attention)
        rewriter.begin_rule("keys")
        keys.turn(rewriter, derived, rewriter.nodes("Softmax"))
        tidy(rewriter)


def _clean(rewriter: Rewriter, derived: DerivedConstants, soft_masks: SoftMasks, attention: Attention) -> None:
    rewriter.begin_rule("nan guard")
    nan_guard.try_drop(rewriter, attention)
    attention = find_attention(attention.softmax) or attention
    rewriter.begin_rule("layout")
    for operand in (*scales.all_scalings(attention)[1:], attention.operands[2]):
        reshapes.try_shorten(rewriter, reshapes.chain_before(operand))
    rewriter.begin_rule("operator")
    formed = operator.try_form(rewriter, soft_masks, attention)
    if formed is not None:
        rewriter.begin_rule("projections")
        split = projections.try_merge(rewriter, derived, formed)
        if split is not None:
            rewriter.begin_rule("heads")
            heads.try_hoist_reshapes(rewriter, split)
        return
    rewriter.begin_rule("scale")
    scales.try_fold(rewriter, derived, attention)
    rewriter.begin_rule("layout")
    for operand in attention.operands:
        reshapes.try_shorten(rewriter, reshapes.chain_before(operand))
    reshapes.try_shorten(rewriter, reshapes.chain_after(attention.context.outputs[0]))
    rewriter.begin_rule("projections")
    projections.try_merge(rewriter, derived, attention.operands)
    rewriter.begin_rule("heads")
    for node in nodes_behind(attention.operands):
        if node.op_type == "Split" and node.domain == "":
            heads.try_hoist(rewriter, node)
