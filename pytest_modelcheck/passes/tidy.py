"""What a larger rewrite leaves behind, brought into the form in which the passes before it would have left it."""

from __future__ import annotations

from pytest_modelcheck.passes.eliminate_common_subexpressions import merge_equal_nodes
from pytest_modelcheck.passes.fold_constants import fold
from pytest_modelcheck.passes.simplify_shape_chains import simplify
from pytest_modelcheck.rewriting import Rewriter


def tidy(rewriter: Rewriter) -> None:
    """Fold, simplify shapes and merge equal nodes, but only at the nodes that this pass has made.

    A view of a constant, a second view of one value, a shape computed once more: without this the pipeline would find
    them in a second run. What was there before the pass is the business of the passes before it, and what is left alone
    here is not a refusal of this one.
    """
    if not rewriter.made:
        return
    rewriter.begin_rule("tidy")
    rewriter.sort()
    refusals = list(rewriter.refusals)
    fold(rewriter, nodes=rewriter.made)
    simplify(rewriter, beside=rewriter.made)
    merge_equal_nodes(rewriter, among=rewriter.made)
    rewriter.refusals[:] = refusals
