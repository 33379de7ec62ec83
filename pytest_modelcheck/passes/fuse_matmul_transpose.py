"""``fuse_matmul_transpose``: a matrix product takes in what turns its operands and scales it, for onnxruntime.

1. ``MatMul(Transpose(a), b)`` -> com.microsoft ``FusedMatMul(a, b, transA=1)``, where the Transpose exchanges the last
   two axes and only products read it; ``transB`` likewise.
2. ``MatMul(c * a, b)``, ``MatMul(a, c * b)`` and ``c * MatMul(a, b)``, c a number -> ``FusedMatMul(a, b, alpha=c)``.
3. ``Shape(Transpose(x))`` -> ``Gather(Shape(x), perm)``, where there is a ``Shape(x)`` and nothing else reads the
   Transpose.

After all other passes of target ``onnxruntime``, which know the MatMul: an attention above all. float32, which is what
onnxruntime's CPU kernel takes. Source:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.FusedMatMul
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, integer_attribute
from pytest_modelcheck.passes.attention.search import scaling_of
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import only_reader, permutation, produced_by, rank, scope_of

_FLAGS = ("transA", "transB")


class FuseMatmulTranspose(Pass):
    name = "fuse_matmul_transpose"
    rules = ("transpose", "scale", "shape")

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes() if rewriter.target == "onnxruntime" else ():
            if node.op_type == "Shape" and node.domain == "":
                _try_gather(rewriter, node)
            product: ir.Node | None = node if _is_product(node) else None
            while product is not None:
                product = _try_turn(rewriter, product) or _try_scale(rewriter, product)


def _is_product(node: ir.Node) -> bool:
    return (node.domain, node.op_type) in (("", "MatMul"), ("com.microsoft", "FusedMatMul"))


def _try_turn(rewriter: Rewriter, product: ir.Node) -> ir.Node | None:
    """Rule 1 for one operand; the new product."""
    rewriter.begin_rule("transpose")
    for index, flag in enumerate(_FLAGS):
        turned = produced_by(product.inputs[index], "Transpose")
        order = permutation(turned)
        if turned is None or order is None or order != (*range(len(order) - 2), len(order) - 1, len(order) - 2):
            continue
        result = turned.outputs[0]
        if result.is_graph_output() or not all(_is_product(node) for node, _ in result.uses()):
            rewriter.refuse("something else than products reads the Transpose", product)
        elif (reason := _refused(product)) is not None:
            rewriter.refuse(reason, product)
        else:
            flags = {flag: 1 - (integer_attribute(product, flag, 0) or 0)}
            return _fuse(rewriter, [turned, product], product, {index: turned.inputs[0]}, flags)
    return None


def _try_scale(rewriter: Rewriter, product: ir.Node) -> ir.Node | None:
    """Rule 2 for one factor; the new product."""
    rewriter.begin_rule("scale")
    before = [(index, produced_by(value, "Mul", "Div")) for index, value in enumerate(product.inputs[:2])]
    for index, scaling in (*before, (None, only_reader(product.outputs[0], "Mul", "Div"))):
        for value in () if scaling is None else scaling.inputs if index is not None else product.outputs:
            factor = None if scaling is None or value is None else scaling_of(scaling, value)
            if scaling is None or factor is None or factor == 0 or not math.isfinite(factor):
                continue
            if index is not None and only_reader(scaling.outputs[0]) is not product:
                rewriter.refuse("something else than the product reads what is scaled", product)
            elif (reason := _refused(product)) is not None:
                rewriter.refuse(reason, product)
            else:
                alpha = {"alpha": factor * float_attribute(product, "alpha", 1.0)}
                nodes = [product, scaling] if index is None else [scaling, product]
                return _fuse(rewriter, nodes, product, {} if index is None else {index: value}, alpha)
    return None


def _try_gather(rewriter: Rewriter, shape: ir.Node) -> bool:
    """Rule 3."""
    turned = produced_by(shape.inputs[0], "Transpose")
    order, x = permutation(turned), None if turned is None else turned.inputs[0]
    if turned is None or order is None or x is None or shape.attributes:
        return False
    rewriter.begin_rule("shape")
    if only_reader(turned.outputs[0]) is not shape:
        return rewriter.refuse("something else than the Shape reads the Transpose", shape)
    for other, _ in x.uses():
        if produced_by(other.outputs[0], "Shape") and other.graph is shape.graph and not other.attributes:
            indices = rewriter.integers(scope_of(shape), order, "perm")
            gather = rewriter.node("Gather", [other.outputs[0], indices], {"axis": 0}, like=shape.outputs[0])
            return rewriter.replace([turned, shape], [gather], {shape.outputs[0]: gather.outputs[0]})
    return rewriter.refuse("nothing computes the shape of what is turned", shape)


def _refused(product: ir.Node) -> str | None:
    if product.outputs[0].dtype != ir.DataType.FLOAT:
        return "the product is not known to be float32, which FusedMatMul needs"
    if any((rank(value) or 0) < 2 for value in product.inputs):
        return "an operand is not known to be a matrix or several"
    return None


def _fuse(
    rewriter: Rewriter,
    nodes: list[ir.Node],
    product: ir.Node,
    operands: Mapping[int, ir.Value | None],
    changed: Mapping[str, float],
) -> ir.Node | None:
    """Put one FusedMatMul in for `nodes`, with these operands and attributes changed."""
    rewriter.import_domain("com.microsoft", 1)
    inputs = [operands.get(index, value) for index, value in enumerate(product.inputs)]
    attributes: dict[str, Any] = {**product.attributes, **changed}
    result = nodes[-1].outputs[0]
    made = rewriter.node("FusedMatMul", inputs, attributes, domain="com.microsoft", like=result)
    return made if rewriter.replace(nodes, [made], {result: made.outputs[0]}) else None
