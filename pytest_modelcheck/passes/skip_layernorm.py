"""``LayerNormalization(x + y, scale, bias)`` -> com.microsoft ``SkipLayerNormalization(x, y, scale, bias)``.

For target ``onnxruntime``. Where something else reads the sum, too, as in a transformer that normalizes first, the
operator gives it as its fourth output.
Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipLayerNormalization
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, has_reference_attributes, integer_attribute
from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import produced_by, rank

SKIP = "SkipLayerNormalization"


def try_take_in_the_sum(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rewrite the LayerNormalization `node` where a sum is what it normalizes."""
    add = produced_by(node.inputs[0], "Add")
    if add is None or add.graph is not node.graph:
        return False
    total, result = add.outputs[0], node.outputs[0]
    left, right = add.inputs
    if left is None or right is None or is_constant(left) or is_constant(right):
        return False  # a bias, and no residual
    if total.dtype != ir.DataType.FLOAT:
        return rewriter.refuse("the sum is not known to be float32", node)
    if has_reference_attributes(node) or has_reference_attributes(add):
        return rewriter.refuse("an attribute is set by the caller of the function", node)
    shapes = rewriter.shapes()
    if shapes.shape(left) is None or shapes.shape(left) != shapes.shape(right):
        return rewriter.refuse("what is added is not known to have one shape", node)
    dimensions = rank(total)
    if dimensions not in (2, 3) or integer_attribute(node, "axis", -1) not in (-1, dimensions - 1):
        return rewriter.refuse(f"{SKIP} takes two or three axes, and normalizes the last one", node)
    if len(node.outputs) > 1 or not all(value is None or is_constant(value) for value in node.inputs[1:]):
        return rewriter.refuse("scale and bias are not constant, or the mean is an output", node)
    rewriter.import_domain("com.microsoft", 1)
    made = rewriter.node(
        SKIP,
        [left, right, *node.inputs[1:]],
        {"epsilon": float_attribute(node, "epsilon", 1e-5)},
        domain="com.microsoft",
        likes=[result] if read_once(total) else [result, None, None, total],
    )
    sums = {} if read_once(total) else {total: made.outputs[3]}
    return rewriter.replace([add, node], [made], {result: made.outputs[0], **sums})
