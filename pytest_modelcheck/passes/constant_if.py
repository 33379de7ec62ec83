"""Replacing an ``If`` whose condition is constant by the branch that runs."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.inlining import take_out
from pytest_modelcheck.rewriting.matching import scope_of


def inline_constant_ifs(rewriter: Rewriter) -> None:
    """Inline every If with a constant condition, outermost first; its other branch is dropped."""
    inlined = True
    while inlined:  # an If inside a branch comes into sight when its branch is inlined
        inlined = False
        for node in rewriter.nodes("If"):
            condition = rewriter.constant(node.inputs[0])
            if condition is not None:
                inlined |= _try_inline(rewriter, node, bool(condition.item()))


def has_constant_if(rewriter: Rewriter) -> bool:
    """Whether there is an If for `inline_constant_ifs`, other than those that it has refused."""
    refused = {refused.node for refused in rewriter.refusals}
    return any(
        is_constant(node.inputs[0]) and (node.name or node.outputs[0].name) not in refused
        for node in rewriter.nodes("If")
    )


def _try_inline(rewriter: Rewriter, node: ir.Node, taken: bool) -> bool:
    branch = node.attributes["then_branch" if taken else "else_branch"].as_graph()
    inner = tuple(branch)
    for old, new in zip(node.outputs, branch.outputs, strict=True):
        produced = new.producer() in inner
        if old.is_graph_output() and (not produced or list(branch.outputs).count(new) > 1):
            return rewriter.refuse("the branch hands a constant or one value twice to a graph output", node)
    if any(value.const_value is None for value in branch.initializers.values()):
        return rewriter.refuse("an initializer of the branch has no data", node)
    results = take_out(rewriter, branch, scope_of(node))
    return rewriter.replace([node], inner, dict(zip(node.outputs, results, strict=True)))
