"""``check_tflite_ops``: names every node for which TensorFlow Lite has no built-in operator. It changes nothing.

A converter writes such a node as a Flex or custom operator, which the plain interpreter does not run, or gives up. The
table says by which built-in operators each ONNX operator can be written, and `COMPOSED` lists those that a converter
writes as several; a condition on an attribute is in `_condition`. Not listed and so named, among others:
LpNormalization, NonMaxSuppression, RotaryEmbedding, and the contrib operators of other runtimes.

Source of the operators: enum BuiltinOperator in
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs; of the mapping:
one file per operator in https://github.com/PINTO0309/onnx2tf/tree/main/onnx2tf/ops
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import text_attribute
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter

BUILTINS: dict[str, str] = {
    "Abs": "ABS", "Add": "ADD", "And": "LOGICAL_AND", "ArgMax": "ARG_MAX", "ArgMin": "ARG_MIN",
    "AveragePool": "AVERAGE_POOL_2D", "BatchNormalization": "MUL ADD", "Cast": "CAST", "CastLike": "CAST",
    "Ceil": "CEIL", "Clip": "MINIMUM MAXIMUM", "Concat": "CONCATENATION", "Constant": "a buffer",
    "ConstantOfShape": "FILL", "Conv": "CONV_2D DEPTHWISE_CONV_2D CONV_3D",
    "ConvTranspose": "TRANSPOSE_CONV CONV_3D_TRANSPOSE", "Cos": "COS", "CumSum": "CUMSUM",
    "DepthToSpace": "DEPTH_TO_SPACE", "DequantizeLinear": "DEQUANTIZE", "Div": "DIV", "Dropout": "nothing",
    "Elu": "ELU", "Equal": "EQUAL", "Exp": "EXP", "Expand": "BROADCAST_TO", "Flatten": "RESHAPE", "Floor": "FLOOR",
    "Gather": "GATHER", "GatherND": "GATHER_ND", "Gelu": "GELU", "Gemm": "FULLY_CONNECTED",
    "GlobalAveragePool": "MEAN", "GlobalMaxPool": "REDUCE_MAX", "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL", "HardSigmoid": "MUL ADD MINIMUM MAXIMUM", "HardSwish": "HARD_SWISH",
    "Identity": "nothing", "If": "IF", "InstanceNormalization": "MEAN SQUARED_DIFFERENCE RSQRT MUL ADD",
    "IsNaN": "NOT_EQUAL", "LRN": "LOCAL_RESPONSE_NORMALIZATION", "LeakyRelu": "LEAKY_RELU", "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL", "Log": "LOG", "LogSoftmax": "LOG_SOFTMAX", "Loop": "WHILE",
    "MatMul": "BATCH_MATMUL FULLY_CONNECTED", "Max": "MAXIMUM", "MaxPool": "MAX_POOL_2D", "Mean": "ADD_N MUL",
    "Min": "MINIMUM", "Mod": "FLOOR_MOD", "Mul": "MUL", "Neg": "NEG", "NonZero": "WHERE", "Not": "LOGICAL_NOT",
    "OneHot": "ONE_HOT", "Or": "LOGICAL_OR", "PRelu": "PRELU", "Pad": "PAD PADV2 MIRROR_PAD", "Pow": "POW",
    "QuantizeLinear": "QUANTIZE", "Range": "RANGE", "Reciprocal": "DIV", "ReduceL1": "ABS SUM",
    "ReduceL2": "SQUARE SUM SQRT", "ReduceLogSum": "SUM LOG", "ReduceLogSumExp": "EXP SUM LOG",
    "ReduceMax": "REDUCE_MAX", "ReduceMean": "MEAN", "ReduceMin": "REDUCE_MIN", "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM", "ReduceSumSquare": "SQUARE SUM", "Relu": "RELU", "Reshape": "RESHAPE",
    "Resize": "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR", "ReverseSequence": "REVERSE_SEQUENCE", "Round": "ROUND",
    "ScatterND": "SCATTER_ND", "Shape": "SHAPE", "Sigmoid": "LOGISTIC", "Sign": "SIGN", "Sin": "SIN",
    "Size": "SHAPE REDUCE_PROD", "Slice": "STRIDED_SLICE", "Softmax": "SOFTMAX", "Softplus": "EXP ADD LOG",
    "Softsign": "ABS ADD DIV", "SpaceToDepth": "SPACE_TO_DEPTH", "Split": "SPLIT_V", "Sqrt": "SQRT",
    "Squeeze": "SQUEEZE", "Sub": "SUB", "Sum": "ADD_N", "Tanh": "TANH", "Tile": "TILE", "TopK": "TOPK_V2",
    "Transpose": "TRANSPOSE", "Unsqueeze": "EXPAND_DIMS", "Where": "SELECT_V2", "Xor": "NOT_EQUAL",
}  # fmt: skip
"""ONNX operator -> the built-in operators of TensorFlow Lite by which it can be written."""

COMPOSED = frozenset(
    {
        "Acos", "Acosh", "AffineGrid", "Asin", "Asinh", "Atan", "Atanh", "Attention", "BitwiseNot", "BitwiseXor",
        "Celu", "CenterCropPad", "Col2Im", "Compress", "Cosh", "Det", "DynamicQuantizeLinear", "Einsum", "Erf",
        "EyeLike", "GRU", "GatherElements", "GridSample", "GroupNormalization", "Hardmax", "IsInf", "LSTM",
        "LayerNormalization", "LpPool", "MatMulInteger", "MeanVarianceNormalization", "Mish", "RNN", "Scatter",
        "ScatterElements", "Selu", "Shrink", "Sinh", "Tan", "TensorScatter", "ThresholdedRelu", "Trilu",
    }
)  # fmt: skip
"""Operators whose node tests of onnx, or some of them, were converted by onnx2tf 2.6.9 and gave the right numbers in
LiteRT 2.1 (CPython 3.12, no custom operators)."""


@dataclass(frozen=True)
class CheckTfliteOps(Pass):
    name: ClassVar[str] = "check_tflite_ops"

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
