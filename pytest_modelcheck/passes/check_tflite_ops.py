"""``check_tflite_ops``: names every node for which TensorFlow Lite has no built-in operator. It changes nothing.

A converter writes such a node as a Flex or custom operator, which the plain interpreter does not run, or gives up. What
`BUILTINS` lists can be written by built-in operators, what `COMPOSED` lists by several; a condition on an attribute is
in `_condition`. Not listed and so named, among others: LpNormalization, NonMaxSuppression, RotaryEmbedding, and the
contrib operators of other runtimes.

Source of the operators: enum BuiltinOperator in
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs; of the mapping:
one file per operator in https://github.com/PINTO0309/onnx2tf/tree/main/onnx2tf/ops
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import text_attribute
from pytest_modelcheck.rewriting import Pass, Rewriter

BUILTINS = frozenset((
    "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Clip",
    "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "CumSum", "DepthToSpace",
    "DequantizeLinear", "Div", "Dropout", "Elu", "Equal", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherND",
    "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
    "Identity", "If", "InstanceNormalization", "IsNaN", "LRN", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
    "Loop", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "PRelu",
    "Pad", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize",
    "ReverseSequence", "Round", "ScatterND", "Shape", "Sigmoid", "Sign", "Sin", "Size", "Slice", "Softmax", "Softplus",
    "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "TopK", "Transpose",
    "Unsqueeze", "Where", "Xor",
))  # fmt: skip
"""ONNX operators that built-in ones of TensorFlow Lite can write, ``Gemm`` as FULLY_CONNECTED for one."""

COMPOSED = frozenset((
    "Acos", "Acosh", "AffineGrid", "Asin", "Asinh", "Atan", "Atanh", "Attention", "BitwiseNot", "BitwiseXor", "Celu",
    "CenterCropPad", "Col2Im", "Compress", "Cosh", "Det", "DynamicQuantizeLinear", "Einsum", "Erf", "EyeLike", "GRU",
    "GatherElements", "GridSample", "GroupNormalization", "Hardmax", "IsInf", "LSTM", "LayerNormalization", "LpPool",
    "MatMulInteger", "MeanVarianceNormalization", "Mish", "RNN", "Scatter", "ScatterElements", "Selu", "Shrink", "Sinh",
    "Tan", "TensorScatter", "ThresholdedRelu", "Trilu",
))  # fmt: skip
"""Operators whose node tests of onnx, or some of them, were converted by onnx2tf 2.6.9 and gave the right numbers in
LiteRT 2.1 (CPython 3.12, no custom operators)."""


class CheckTfliteOps(Pass):
    name = "check_tflite_ops"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes():
            reason = _obstacle(node, rewriter.model)
            if reason is not None:
                rewriter.refuse(reason, node)


def _obstacle(node: ir.Node, model: ir.Model) -> str | None:
    if node.domain != "":
        if node.op_identifier() in model.functions:
            return None
        return f"{node.domain}:{node.op_type} is not a standard operator"
    if node.op_type not in BUILTINS and node.op_type not in COMPOSED:
        return f"TensorFlow Lite has no built-in operator for {node.op_type}"
    return _condition(node)


def _condition(node: ir.Node) -> str | None:
    if node.op_type == "Resize" and text_attribute(node, "mode", "nearest") == "cubic":
        return "TensorFlow Lite resizes bilinearly or to the nearest, not cubically"
    if node.op_type == "Pad" and text_attribute(node, "mode", "constant") == "wrap":
        return "TensorFlow Lite pads with a constant or a mirror image, not around"
    return None
