"""Products of integers that become floats at once, as onnxruntime's extended level makes them of a quantized file.

With ``q, s, z = DynamicQuantizeLinear(x)``, a constant matrix B of integers, and one scale t, or one per column:

1. ``Cast(MatMulInteger(q, B, z, b)) * (s * t) [+ c] -> com.microsoft.MatMulIntegerToFloat(q, B, s, t, z, b, c)``.
2. The same, where nothing else reads what the quantization gives -> ``DynamicQuantizeMatMul(x, B, t, b, c)``.

For target ``onnxruntime``, whose dynamic quantization writes the former. Source:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.DynamicQuantizeMatMul
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.rewriting import AnyOf, Match, Op, Rewriter, Rule, Var, apply, constant
from pytest_modelcheck.rewriting.matching import produced_by

INTEGERS = "integer product"


def fuse_integer_products(rewriter: Rewriter) -> None:
    """Both rules, where the target has their operators."""
    if rewriter.target == "onnxruntime":
        apply(rewriter, [_RULE])


def _makes(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    product, bias = match.named["MatMulInteger"], match.values.get("bias")
    data, matrix, zero, matrix_zero = (*product.inputs, None, None)[:4]
    quantized = produced_by(data, "DynamicQuantizeLinear")
    if quantized is None or match.values["scale"] is not quantized.outputs[1] or zero is not quantized.outputs[2]:
        return "the product is not of what a DynamicQuantizeLinear gives, with its scale"
    weight = None if matrix is None else constant_tensor(matrix)
    if weight is None or len(weight.shape) != 2:
        return "the integers are not multiplied by a constant matrix"
    width = weight.shape[1]
    each = [value for value in (match.values["factor"], matrix_zero) if value is not None]
    if not all(_is_per_column(value, width) for value in each):
        return "the scale is not constant, one number or one per column"
    rewriter.import_domain("com.microsoft", 1)
    scales: list[ir.Value | None] = [match.values["factor"], matrix_zero, bias]
    alone = all(read_once(value) for value in quantized.outputs)
    op_type = "DynamicQuantizeMatMul" if alone else "MatMulIntegerToFloat"
    inputs = [data, matrix, match.values["scale"], scales[0], zero, *scales[1:]]
    if alone:
        inputs = [quantized.inputs[0], matrix, *scales]
    while inputs[-1] is None:
        inputs.pop()
    return [rewriter.node(op_type, inputs, domain="com.microsoft", like=match.result)]


def _is_bias(match: Match, value: ir.Value) -> bool:
    weight = constant_tensor(match.named["MatMulInteger"].inputs[1])
    return weight is not None and _is_vector(value, weight.shape[-1])


def _is_per_column(value: ir.Value, width: object) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and (tensor.size == 1 or _is_vector(value, width))


def _is_vector(value: ir.Value, width: object) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tuple(tensor.shape) == (width,)


_PRODUCT = Op("MatMulInteger")
_SCALES = Op("Mul", Var("scale"), Var("factor", where=constant), name="scales")
_FLOATS = Op("Mul", Op("Cast", _PRODUCT), _SCALES)
_RULE = Rule(
    name=INTEGERS,
    formula=AnyOf(Op("Add", _FLOATS, Var("bias", where=_is_bias)), _FLOATS),
    anchor=_PRODUCT,
    reach=3,
    makes=_makes,
)
