"""``LayerNormalization(x + y, scale, bias)`` -> com.microsoft ``SkipLayerNormalization(x, y, scale, bias)``.

For target ``onnxruntime``. Where something else reads the sum, too, as in a transformer that normalizes first, the
operator gives it as its fourth output. ``RMSNormalization(x + y, scale)`` likewise is a
``SkipSimplifiedLayerNormalization``, at any opset.
Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.SkipLayerNormalization
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, has_reference_attributes, integer_attribute
from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import produced_by, rank

SKIP = "SkipLayerNormalization"
SKIP_RMS = "SkipSimplifiedLayerNormalization"


def try_take_in_the_sum(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rewrite the LayerNormalization `node` where a sum is what it normalizes."""
    add = residual(node.inputs[0], node)
    if add is None:
        return False
    if has_reference_attributes(node) or has_reference_attributes(add):
        return rewriter.refuse("an attribute is set by the caller of the function", node)
    if (reason := refused_sum(rewriter, add, integer_attribute(node, "axis", -1))) is not None:
        return rewriter.refuse(reason, node)
    if len(node.outputs) > 1 or not all(value is None or is_constant(value) for value in node.inputs[1:]):
        return rewriter.refuse("scale and bias are not constant, or the mean is an output", node)
    total, result = add.outputs[0], node.outputs[0]
    epsilon, read = float_attribute(node, "epsilon", 1e-5), not read_once(total)
    made = normalized_sum(
        rewriter, SKIP, add, node.inputs[1:], epsilon, [result, None, None, total] if read else [result]
    )
    sums = {total: made.outputs[3]} if read else {}
    return rewriter.replace([add, node], [made], {result: made.outputs[0], **sums})


def residual(value: ir.Value | None, reader: ir.Node) -> ir.Node | None:
    """The Add in the graph of `reader` that makes `value` of two values, neither of which is a bias."""
    add = produced_by(value, "Add")
    if add is None or add.graph is not reader.graph:
        return None
    return None if any(operand is None or is_constant(operand) for operand in add.inputs) else add


def refused_sum(rewriter: Rewriter, add: ir.Node, axis: int | None) -> str | None:
    """Why the operators do not take in what `add` makes, normalized along `axis`; None where they do."""
    total = add.outputs[0]
    if total.dtype != ir.DataType.FLOAT:
        return "the sum is not known to be float32"
    left, right = map(rewriter.shapes().shape, add.inputs)
    if left is None or left != right:
        return "what is added is not known to have one shape"
    dimensions = rank(total)
    if dimensions not in (2, 3) or axis not in (-1, dimensions - 1):
        return f"{SKIP} takes two or three axes, and normalizes the last one"
    return None


def normalized_sum(
    rewriter: Rewriter,
    op_type: str,
    add: ir.Node,
    parameters: Sequence[ir.Value | None],
    epsilon: float,
    likes: Sequence[ir.Value | None],
) -> ir.Node:
    """The contrib operator for the sum of `add`, its outputs like `likes`."""
    rewriter.import_domain("com.microsoft", 1)
    inputs = [*add.inputs, *parameters]
    return rewriter.node(op_type, inputs, {"epsilon": epsilon}, domain="com.microsoft", likes=likes)


def share_sums(rewriter: Rewriter) -> None:
    """Let what reads a sum that a SkipSimplifiedLayerNormalization makes, too, read that one."""
    for add in rewriter.nodes("Add"):
        for user, _ in add.inputs[0].uses() if add.inputs[0] is not None else ():
            twin = user.op_type == SKIP_RMS and user.graph is add.graph and len(user.outputs) > 3
            if twin and user.inputs[:2] == add.inputs and user.outputs[3].type == add.outputs[0].type:
                rewriter.replace([add], [], {add.outputs[0]: user.outputs[3]})
                break
