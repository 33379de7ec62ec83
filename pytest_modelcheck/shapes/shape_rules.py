"""One rule per operator for the symbolic shapes of its outputs (ONNX operator specifications, opsets 1 to 23).

A rule gives, per output, a sequence of dimensions with None for a gap, or None where not even the rank is known.
Operators without a rule keep what ONNX shape inference says, as where a rule needs what is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute, text_attribute
from pytest_modelcheck.graph.constants import constant_array
from pytest_modelcheck.shapes import layout_rules
from pytest_modelcheck.shapes.broadcast import broadcast
from pytest_modelcheck.shapes.dims import Dim, add, divide_exactly, is_nonnegative, multiply, subtract
from pytest_modelcheck.shapes.equations import parse_equation
from pytest_modelcheck.shapes.known import Facts, Known, Partial, Unknown, fact, normalized
from pytest_modelcheck.shapes.operator_kinds import BROADCASTING, REDUCTIONS, UNARY
from pytest_modelcheck.shapes.slices import INFINITE, pads_of

Rule = Callable[[Facts], list[Partial]]


def output_shapes(node: ir.Node, known: Known) -> list[Partial]:
    """The shapes of the outputs of a node, as many as the rule for its operator gives."""
    rule = _RULES_OF_DOMAIN.get(node.domain, {}).get(node.op_type)
    try:
        return [] if rule is None else rule(Facts(node, known))
    except Unknown:
        return []


def _same(of: Facts) -> list[Partial]:
    return [of.shape()]


def _elementwise(of: Facts) -> list[Partial]:
    if "broadcast" in of.node.attributes or "axis" in of.node.attributes:  # before opset 7: the second is stretched
        return [of.shape()]
    return [broadcast([of.shape(index) for index in range(len(of.node.inputs))])]


def _matmul(of: Facts, factor: int = 1) -> list[Partial]:
    left, right = of.shape(0), of.shape(factor)
    if not left or not right or of.integer("transBatchA", 0) or of.integer("transBatchB", 0):
        return []
    if of.integer("transA", 0):
        left = (*left[:-2], *left[:-3:-1])
    if of.integer("transB", 0):
        right = (*right[:-2], *right[:-3:-1])
    batch = broadcast([left[:-2], right[:-2]]) or ()
    return [[*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ())]]


def _gemm(of: Facts) -> list[Partial]:
    left, right = of.shape(0), of.shape(1)
    if len(left) != 2 or len(right) != 2:
        return []
    return [[left[1 if of.integer("transA", 0) else 0], right[0 if of.integer("transB", 0) else 1]]]


def _shape(of: Facts) -> list[Partial]:
    return [[len(of.shape()[of.integer("start", 0) : of.integer("end", INFINITE)])]]


def _reduce(of: Facts) -> list[Partial]:
    shape, axes = of.shape(), of.axes()
    if not axes and of.integer("noop_with_empty_axes", 0):
        return [shape]
    return [_reduced(of, shape, normalized(axes or range(len(shape)), len(shape)))]


def _arg(of: Facts) -> list[Partial]:
    shape = of.shape()
    return [_reduced(of, shape, (of.axis(len(shape)),))]


def _reduced(of: Facts, shape: Sequence[Dim], axes: Sequence[int]) -> list[Dim]:
    keep = of.integer("keepdims", 1)
    return [1 if i in axes else dim for i, dim in enumerate(shape) if keep or i not in axes]


def _split(of: Facts) -> list[Partial]:
    shape, count = of.shape(), len(of.node.outputs)
    axis = of.axis(len(shape))
    sizes: Sequence[Dim | None] | None
    if "split" in of.node.attributes:
        sizes = integers_attribute(of.node, "split")
    elif of.value(1) is not None:
        sizes = of.known.content(of.value(1))
    else:
        sizes = [divide_exactly(shape[axis], count)] * count
    if sizes is None or len(sizes) != count:
        sizes = [None] * count
    return [[*shape[:axis], size, *shape[axis + 1 :]] for size in sizes]


def _tile(of: Facts) -> list[Partial]:
    shape, repeats = of.shape(), of.content(1)
    if len(shape) != len(repeats):
        return []
    return [[multiply(d, r) if is_nonnegative(r) else None for d, r in zip(shape, repeats, strict=True)]]


def _constant_of_shape(of: Facts) -> list[Partial]:
    return [[element if is_nonnegative(element) else None for element in of.content()]]


def _range(of: Facts) -> list[Partial]:
    start, limit, delta = (of.content(index) for index in range(3))
    if not start or not limit or not delta or delta[0] != 1:
        return [[None]]
    length = subtract(limit[0], start[0])
    return [[length if is_nonnegative(length) else None]]


def _batch_and_channels(of: Facts, weights: int = 1) -> list[Partial]:
    shape, weight = of.shape(0), of.shape(weights)
    return [[shape[0], weight[0], *[None] * (len(shape) - 2)]] if shape and weight else []


def _pooled(size: Dim | None) -> Rule:
    def rule(of: Facts) -> list[Partial]:
        shape = of.shape()
        return [] if len(shape) < 2 else [[*shape[:2], *[size] * (len(shape) - 2)]]

    return rule


def _resize(of: Facts) -> list[Partial]:
    if text_attribute(of.node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return []
    made: list[Dim | None] = list(of.shape())
    axes = normalized(fact(integers_attribute(of.node, "axes", tuple(range(len(made))))), len(made))
    if of.value(3) is not None:  # of opset 11
        stretched = text_attribute(of.node, "keep_aspect_ratio_policy", "stretch") == "stretch"
        sizes = [size if stretched and is_nonnegative(size) else None for size in of.content(3)]
    else:
        scales = fact(constant_array(of.value(1 if len(of.node.inputs) == 2 else 2)))
        sizes = [made[axis] if scale == 1 else None for axis, scale in zip(axes, scales, strict=True)]
    for axis, size in zip(axes, sizes, strict=True):
        made[axis] = size
    return [made]


def _top(of: Facts) -> list[Partial]:
    shape, count = of.shape(), of.content(1)
    axis = of.axis(len(shape), -1)
    return [[*shape[:axis], count[0], *shape[axis + 1 :]]] * 2 if count and is_nonnegative(count[0]) else []


def _non_zero(of: Facts) -> list[Partial]:
    shape = of.shape()
    return [[len(shape), None]] if shape else []


def _einsum(of: Facts) -> list[Partial]:
    shapes = [of.shape(index) for index in range(len(of.node.inputs))]
    equation = parse_equation(fact(text_attribute(of.node, "equation", "")), list(map(len, shapes)))
    if isinstance(equation, str):
        return []
    sizes: dict[str, list[tuple[Dim, ...]]] = {}
    for letters, shape in zip(equation.terms, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            sizes.setdefault(letter, []).append((size,))
    return [[(broadcast(sizes.get(letter, [None])) or [None])[0] for letter in equation.output]]


def _gather_elements(of: Facts) -> list[Partial]:
    return [of.shape(1)]


def _pad(of: Facts) -> list[Partial]:
    sizes = [add(dim, add(*around)) for dim, around in zip(of.shape(), pads_of(of), strict=True)]
    return [[size if is_nonnegative(size) else None for size in sizes]]


def _skip_layernorm(of: Facts) -> list[Partial]:
    shape: Partial = of.shape()
    return [shape, None, None, shape][: len(of.node.outputs)]


def _recurrent(of: Facts) -> list[Partial]:
    data, weights = of.shape(0), of.shape(1)
    if len(data) != 3 or not weights or of.integer("layout", 0) != 0:
        return []
    state = (weights[0], data[1], of.integer("hidden_size"))
    made: list[Partial] = [(data[0], *state), state, state]
    return made[: len(of.node.outputs)]


def _multi_head_attention(of: Facts) -> list[Partial]:
    query, value = of.shape(0), of.shape(2)
    return [[*query[:2], value[2]]] if len(query) == len(value) == 3 else []


_SAME = (
    *UNARY,
    "BatchNormalization", "Bernoulli", "CastLike", "CumSum", "DequantizeLinear", "Dropout", "EyeLike",
    "GroupNormalization", "Hardmax", "InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax",
    "LpNormalization", "MeanVarianceNormalization", "PRelu", "QuantizeLinear", "RMSNormalization", "RandomNormalLike",
    "RandomUniformLike", "RotaryEmbedding", "ScatterElements", "ScatterND", "Softmax", "Swish", "Trilu",
)  # fmt: skip
"""What comes out has the shape of the first input."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(BROADCASTING, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pooled(None)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), _recurrent),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _pooled(1)),
    "Concat": layout_rules.concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _batch_and_channels,
    "ConvInteger": _batch_and_channels,
    "DynamicQuantizeLinear": lambda of: [of.shape(), (), ()],
    "Einsum": _einsum,
    "Expand": layout_rules.expand,
    "Flatten": layout_rules.flatten,
    "Gather": layout_rules.gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "NonZero": _non_zero,
    "Pad": _pad,
    "QLinearConv": partial(_batch_and_channels, weights=3),
    "QLinearMatMul": partial(_matmul, factor=3),
    "Range": _range,
    "Reshape": layout_rules.reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": layout_rules.slice_,
    "Split": _split,
    "Squeeze": layout_rules.squeeze,
    "Tile": _tile,
    "TopK": _top,
    "Transpose": layout_rules.transpose,
    "Unsqueeze": layout_rules.unsqueeze,
    "Upsample": _resize,
}

_RULES_OF_DOMAIN: dict[str, dict[str, Rule]] = {
    "": RULES,
    "com.microsoft": {
        **dict.fromkeys(("BiasGelu", "FastGelu", "Gelu", "QuickGelu"), _same),
        "DynamicQuantizeLSTM": _recurrent,
        "DynamicQuantizeMatMul": _matmul,
        "FusedConv": _batch_and_channels,
        "FusedGemm": _gemm,
        "FusedMatMul": _matmul,
        "MatMulIntegerToFloat": _matmul,
        "MultiHeadAttention": _multi_head_attention,
        "SkipLayerNormalization": _skip_layernorm,
        "SkipSimplifiedLayerNormalization": _skip_layernorm,
    },
}
