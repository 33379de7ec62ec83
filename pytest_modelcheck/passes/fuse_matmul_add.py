"""``fuse_matmul_add``: a matrix product and the addition behind it become one Gemm.

1. Of matrices: ``Add(MatMul(a, B), c) -> Gemm(a, B, c)``, where c is proven to broadcast to the product and not beyond
   it: a bias, or a residual of the same shape. A Transpose that makes B becomes ``transB``. A Gemm without an addend
   is such a product, too.
2. Of activations (batch, sequence, width) ``Gemm`` has no form. But most of a transformer layer only looks along the
   last axis, and does to the view (batch * sequence, width) what it does to the activations. So the view is carried
   through each connected part of the graph that can work on it (`flattening`), Reshapes to and from it are put, moved
   or dropped at the border, and rule 1 applies inside - where that removes nodes net; else it is refused.
3. Views of constants, and views that are there twice, are tidied up (`tidying`).
4. For target ``onnxruntime`` products of integers become floats in one operator (integer_products.py).

Source: https://onnx.ai/onnx/operators/onnx__Gemm.html
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.passes.flattening.regions import find_regions
from pytest_modelcheck.passes.flattening.rewrite import flatten
from pytest_modelcheck.passes.integer_products import INTEGERS, fuse_integer_products
from pytest_modelcheck.passes.tidy import tidy
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import GEMM_TYPES, only_reader, other_input, produced_by
from pytest_modelcheck.shapes.broadcast import broadcasts_to

_MAX_ROUNDS = 4


class FuseMatmulAdd(Pass):
    name = "fuse_matmul_add"
    rules = ("matrices", "view", "tidy", INTEGERS)

    def rewrite(self, rewriter: Rewriter) -> None:
        fuse_integer_products(rewriter)
        rewriter.order_uses()
        rewriter.begin_rule("view")
        for scope in list(rewriter.scopes()):
            for _ in range(_MAX_ROUNDS):
                rewriter.known.refresh()
                _, waiting = flatten(rewriter, find_regions(rewriter, scope))
                if not waiting:
                    break
        shapes = rewriter.shapes()
        rewriter.begin_rule("matrices")
        for product in rewriter.nodes("MatMul", "Gemm"):
            add = only_reader(product.outputs[0], "Add")
            if add is not None and len(product.inputs) == 2 and len(shapes.shape(product.outputs[0]) or ()) == 2:
                _try_fuse(rewriter, product, add)
        tidy(rewriter)


def _try_fuse(rewriter: Rewriter, product: ir.Node, add: ir.Node) -> bool:
    """Rule 1."""
    result = product.outputs[0]
    added = other_input(add, result)
    shape, operands = rewriter.known.shape(result), [rewriter.known.shape(value) for value in product.inputs]
    if any(operand is None or len(operand) != 2 for operand in operands) or shape is None:
        return rewriter.refuse("the MatMul is not proven to multiply matrices", product)
    if result.dtype not in GEMM_TYPES:
        return rewriter.refuse("the element type is not float or double", product)
    if added is result or added is None or not broadcasts_to(rewriter.known.shape(added), shape):
        return rewriter.refuse("the addend is not proven to broadcast to the product", product)
    left, right = product.inputs
    turned = produced_by(right, "Transpose") if product.op_type == "MatMul" else None
    attributes: dict[str, Any] = {name: attribute for name, attribute in product.attributes.items() if name != "beta"}
    if turned is not None and integers_attribute(turned, "perm", (1, 0)) == (1, 0):
        right, attributes = turned.inputs[0], {"transB": 1}
    gemm = rewriter.node("Gemm", [left, right, added], attributes, like=add.outputs[0])
    return rewriter.replace([product, add], [gemm], {add.outputs[0]: gemm.outputs[0]})
