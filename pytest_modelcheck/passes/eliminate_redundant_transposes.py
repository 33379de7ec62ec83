"""``eliminate_redundant_transposes``: make Transposes meet and cancel.

1. ``Transpose(Transpose(x, p), q) -> Transpose(x, p∘q)``, and nothing where the composition leaves the axes in order.
2. Transposes with Reshapes between them become the shortest chain that does the same (attention/layouts.py).
3. A Transpose moves through elementwise operators, reductions, ArgMax, Concat, Split, Softmax, Pad and Slice, with
   their axes adjusted and their constants transposed, where that leaves fewer Transposes (transpose_regions.py).
4. ``Gemm(Transpose(x))`` of a matrix reads x with transA or transB exchanged; ``MatMul`` of two matrices by a
   transposed constant, such as an embedding that is the head as well, becomes that Gemm.

Source: https://onnx.ai/onnx/operators/onnx__Transpose.html (``output.shape[i] == input.shape[perm[i]]``).
"""

from __future__ import annotations

import itertools

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.passes.attention.reshapes import chain_after, chain_before, try_shorten
from pytest_modelcheck.passes.transposes.regions import try_flip
from pytest_modelcheck.passes.transposes.rules import composed
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import GEMM_TYPES, only_reader, permutation, produced_by

_MAX_ROUNDS = 8
"""One rewrite may bring two Transposes together that were apart; more rounds than this were never needed."""


class EliminateRedundantTransposes(Pass):
    name = "eliminate_redundant_transposes"
    rules = ("compose", "chain", "move", "gemm")

    def rewrite(self, rewriter: Rewriter) -> None:
        if not any(True for _ in rewriter.nodes("Transpose")):
            return
        rewriter.order_uses()
        rewriter.known.refresh()
        for _ in range(_MAX_ROUNDS):
            made = rewriter.rewrites
            for node in rewriter.nodes("Transpose"):
                if not _try_compose(rewriter, node) and not _try_absorb(rewriter, node):
                    _try_chain(rewriter, node)
            rewriter.begin_rule("move")
            for node in rewriter.nodes("Transpose"):
                try_flip(rewriter, node)
            if rewriter.rewrites == made:
                return


def _try_compose(rewriter: Rewriter, node: ir.Node) -> bool:
    rewriter.begin_rule("compose")
    inner = produced_by(node.inputs[0], "Transpose")
    if inner is None:
        return False
    second, first = permutation(node), permutation(inner)
    if first is None or second is None:
        return rewriter.refuse("the order of axes of a Transpose is not known", node)
    total = composed(first, second)
    origin, output = inner.inputs[0], node.outputs[0]
    if origin is None:
        return False
    in_order = total == tuple(range(len(total)))
    if in_order and rewriter.can_replace_value(output, origin):
        return rewriter.replace([node], [], {output: origin}, metadata_from=[node, inner])
    # Where the first Transpose is read elsewhere too it stays, and the second is as cheap as before.
    made = rewriter.node(
        "Identity" if in_order else "Transpose", [origin], {} if in_order else {"perm": total}, like=output
    )
    return rewriter.replace([node], [made], {output: made.outputs[0]}, metadata_from=[inner, node])


def _try_absorb(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 4, for a Transpose that only Gemms, and products of matrices, read."""
    rewriter.begin_rule("gemm")
    output, source = node.outputs[0], node.inputs[0]
    users = [(user, index) for user, index in output.uses()]
    products = {user for user, _ in users if is_constant(source) and _is_product_of_matrices(rewriter, user, output)}
    if permutation(node) != (1, 0) or source is None or not any(_is_gemm(u) or u in products for u, _ in users):
        return False
    if output.is_graph_output():
        return rewriter.refuse("the transposed matrix of a Gemm is a graph output", node)
    for user, index in users:
        if user not in products and (not _is_gemm(user) or index > 1):
            return rewriter.refuse("the transposed matrix of a Gemm is read in another way too", node)
        if integer_attribute(user, "transA" if index == 0 else "transB", 0) is None:
            return rewriter.refuse("an attribute is set by the caller of the function", user)
    for user, index in users:
        if rewriter.exhausted:
            return True
        flag = "transA" if index == 0 else "transB"
        if user in products:
            operands = [source if value is output else value for value in user.inputs]
            gemm = rewriter.node("Gemm", operands, {flag: 1}, like=user.outputs[0])
            rewriter.replace([node, user], [gemm], {user.outputs[0]: gemm.outputs[0]}, metadata_from=[user, node])
            continue
        rewriter.set_attributes(user, {flag: 1 - int(bool(integer_attribute(user, flag, 0)))})
        rewriter.set_input(user, index, source)
    if len(products) < len(users):
        rewriter.edited()
    return True


def _is_gemm(node: ir.Node) -> bool:
    return node.op_type == "Gemm" and node.domain == ""


def _is_product_of_matrices(rewriter: Rewriter, node: ir.Node, operand: ir.Value) -> bool:
    if node.op_type != "MatMul" or node.domain != "" or list(node.inputs).count(operand) > 1:
        return False
    ranks = [len(rewriter.known.shape(value) or ()) for value in node.inputs]
    return ranks == [2, 2] and node.outputs[0].dtype in GEMM_TYPES


def _try_chain(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 2, for the chain that begins at the Transpose `node`, with the reshapes directly before it."""
    rewriter.begin_rule("chain")
    source = node.inputs[0]
    before = chain_before(source) if source is not None and only_reader(source) is node else []
    reshapes = list(itertools.takewhile(lambda step: step.op_type != "Transpose", reversed(before)))
    chain = [*reversed(reshapes), node, *chain_after(node.outputs[0])]
    while len(chain) > 1 and sum(step.op_type == "Transpose" for step in chain) > 1:
        # Reshapes at the ends may have no provable grouping: without them the rest may still be shorter.
        if try_shorten(rewriter, chain):
            return True
        if chain[-1].op_type == "Transpose":
            if chain[0].op_type == "Transpose":
                return False
            chain.pop(0)
        else:
            chain.pop()
    return False
