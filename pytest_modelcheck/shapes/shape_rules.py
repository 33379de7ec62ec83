"""One rule per operator for the symbolic shapes of its outputs (ONNX operator specifications, opsets 1 to 23).

A rule gives, per output, a sequence of dimensions with None for a gap, or None where not even the rank is known.
Operators without a rule keep what ONNX shape inference says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute, text_attribute
from pytest_modelcheck.shapes import layout_rules
from pytest_modelcheck.shapes.broadcast import broadcast
from pytest_modelcheck.shapes.dims import Dim, add, divide_exactly, is_nonnegative, multiply, subtract
from pytest_modelcheck.shapes.equations import parse_equation
from pytest_modelcheck.shapes.known import Known, Partial, axes_of, axis_of, normalized
from pytest_modelcheck.shapes.operator_kinds import BROADCASTING, REDUCTIONS, UNARY
from pytest_modelcheck.shapes.slices import INFINITE, pads_of


def output_shapes(node: ir.Node, known: Known) -> list[Partial]:
    """The shapes of the outputs of a node, as many as the rule for its operator gives."""
    rule = _RULES_OF_DOMAIN.get(node.domain, {}).get(node.op_type)
    return [] if rule is None or not node.inputs else rule(node, known)


def _same(node: ir.Node, known: Known) -> list[Partial]:
    return [known.shape(node.inputs[0])]


def _elementwise(node: ir.Node, known: Known) -> list[Partial]:
    if "broadcast" in node.attributes or "axis" in node.attributes:  # before opset 7: the second input is stretched
        return [known.shape(node.inputs[0])]
    return [broadcast([known.shape(value) for value in node.inputs])]


def _matmul(node: ir.Node, known: Known) -> list[Partial]:
    left, right = known.shape(node.inputs[0]), known.shape(node.inputs[1])
    if left is None or right is None or not left or not right:
        return []
    batch = broadcast([left[:-2], right[:-2]]) or ()
    return [[*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ())]]


def _gemm(node: ir.Node, known: Known) -> list[Partial]:
    left, right = known.shape(node.inputs[0]), known.shape(node.inputs[1])
    a, b = integer_attribute(node, "transA", 0), integer_attribute(node, "transB", 0)
    if left is None or right is None or a is None or b is None or len(left) != 2 or len(right) != 2:
        return []
    return [[left[1 if a else 0], right[0 if b else 1]]]


def _shape(node: ir.Node, known: Known) -> list[Partial]:
    shape = known.shape(node.inputs[0])
    start, end = integer_attribute(node, "start", 0), integer_attribute(node, "end", INFINITE)
    if shape is None or start is None or end is None:
        return [[None]]
    return [[len(shape[start:end])]]


def _reduce(node: ir.Node, known: Known) -> list[Partial]:
    shape, axes = known.shape(node.inputs[0]), axes_of(node, known)
    keep, empty_is_none = integer_attribute(node, "keepdims", 1), integer_attribute(node, "noop_with_empty_axes", 0)
    if shape is None or axes is None or keep is None or empty_is_none is None:
        return []
    if not axes:
        if empty_is_none:
            return [shape]
        axes = tuple(range(len(shape)))
    reduced = normalized(axes, len(shape))
    if reduced is None:
        return []
    return [[1 if i in reduced else dim for i, dim in enumerate(shape) if keep or i not in reduced]]


def _arg(node: ir.Node, known: Known) -> list[Partial]:
    shape, keep = known.shape(node.inputs[0]), integer_attribute(node, "keepdims", 1)
    axis = None if shape is None else axis_of(node, len(shape))
    if shape is None or axis is None or keep is None:
        return []
    return [[1 if i == axis else dim for i, dim in enumerate(shape) if keep or i != axis]]


def _split(node: ir.Node, known: Known) -> list[Partial]:
    shape = known.shape(node.inputs[0])
    axis = None if shape is None else axis_of(node, len(shape))
    if shape is None or axis is None:
        return []
    count = len(node.outputs)
    sizes: Sequence[Dim | None] | None
    if (attribute := node.attributes.get("split")) is not None:
        sizes = None if attribute.is_ref() else tuple(attribute.as_ints())
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        sizes = known.content(node.inputs[1])
    else:
        sizes = [divide_exactly(shape[axis], count)] * count
    if sizes is None or len(sizes) != count:
        sizes = [None] * count
    return [[*shape[:axis], size, *shape[axis + 1 :]] for size in sizes]


def _tile(node: ir.Node, known: Known) -> list[Partial]:
    shape, repeats = known.shape(node.inputs[0]), known.content(node.inputs[1])
    if shape is None or repeats is None or len(shape) != len(repeats):
        return []
    return [[multiply(d, r) if is_nonnegative(r) else None for d, r in zip(shape, repeats, strict=True)]]


def _constant_of_shape(node: ir.Node, known: Known) -> list[Partial]:
    elements = known.content(node.inputs[0])
    if elements is None:
        return []
    return [[element if is_nonnegative(element) else None for element in elements]]


def _range(node: ir.Node, known: Known) -> list[Partial]:
    start, limit, delta = (known.content(value) for value in node.inputs)
    if not start or not limit or not delta or delta[0] != 1:
        return [[None]]
    length = subtract(limit[0], start[0])
    return [[length if is_nonnegative(length) else None]]


def _batch_and_channels(node: ir.Node, known: Known) -> list[Partial]:
    shape, weight = (known.shape(value) for value in (*node.inputs, None)[:2])  # contrib operators are not checked
    if not shape or not weight:
        return []
    return [[shape[0], weight[0], *[None] * (len(shape) - 2)]]


def _pooled(size: Dim | None) -> Callable[[ir.Node, Known], list[Partial]]:
    def rule(node: ir.Node, known: Known) -> list[Partial]:
        shape = known.shape(node.inputs[0])
        return [] if not shape or len(shape) < 2 else [[*shape[:2], *[size] * (len(shape) - 2)]]

    return rule


def _top(node: ir.Node, known: Known) -> list[Partial]:
    shape, count = known.shape(node.inputs[0]), known.content(node.inputs[1] if len(node.inputs) > 1 else None)
    axis = None if shape is None else axis_of(node, len(shape), -1)
    if shape is None or axis is None or not count or not is_nonnegative(count[0]):
        return []
    return [[*shape[:axis], count[0], *shape[axis + 1 :]]] * 2


def _non_zero(node: ir.Node, known: Known) -> list[Partial]:
    shape = known.shape(node.inputs[0])
    return [[len(shape), None]] if shape else []


def _einsum(node: ir.Node, known: Known) -> list[Partial]:
    shapes = [shape for value in node.inputs if (shape := known.shape(value)) is not None]
    text = text_attribute(node, "equation", "")
    equation = parse_equation(text, list(map(len, shapes))) if text and len(shapes) == len(node.inputs) else ""
    if isinstance(equation, str):
        return []
    sizes: dict[str, list[tuple[Dim, ...]]] = {}
    for letters, shape in zip(equation.terms, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            sizes.setdefault(letter, []).append((size,))
    return [[(broadcast(sizes.get(letter, [None])) or [None])[0] for letter in equation.output]]


def _gather_elements(node: ir.Node, known: Known) -> list[Partial]:
    return [known.shape(node.inputs[1])]


def _pad(node: ir.Node, known: Known) -> list[Partial]:
    shape, pads = known.shape(node.inputs[0]), pads_of(node, known)
    if shape is None or pads is None:
        return []
    sizes = [add(dim, add(*around)) for dim, around in zip(shape, pads, strict=True)]
    return [[size if is_nonnegative(size) else None for size in sizes]]


def _skip_layernorm(node: ir.Node, known: Known) -> list[Partial]:
    shape: Partial = known.shape(node.inputs[0])
    return [shape, None, None, shape][: len(node.outputs)]


def _multi_head_attention(node: ir.Node, known: Known) -> list[Partial]:
    query, value = known.shape(node.inputs[0]), known.shape(node.inputs[2] if len(node.inputs) > 2 else None)
    if query is None or value is None or len(query) != 3 or len(value) != 3:
        return []
    return [[*query[:2], value[2]]]


_SAME = (
    *UNARY,
    "BatchNormalization", "Bernoulli", "CastLike", "CumSum", "DequantizeLinear", "Dropout", "EyeLike",
    "GroupNormalization", "Hardmax", "InstanceNormalization", "LRN", "LayerNormalization", "LogSoftmax",
    "LpNormalization", "MeanVarianceNormalization", "PRelu", "QuantizeLinear", "RMSNormalization", "RandomNormalLike",
    "RandomUniformLike", "RotaryEmbedding", "ScatterElements", "ScatterND", "Softmax", "Swish", "Trilu",
)  # fmt: skip
"""What comes out has the shape of the first input."""

RULES: dict[str, Callable[[ir.Node, Known], list[Partial]]] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(BROADCASTING, _elementwise),
    **dict.fromkeys(REDUCTIONS, _reduce),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("AveragePool", "MaxPool"), _pooled(None)),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), _pooled(1)),
    "Concat": layout_rules.concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _batch_and_channels,
    "Einsum": _einsum,
    "Expand": layout_rules.expand,
    "Flatten": layout_rules.flatten,
    "Gather": layout_rules.gather,
    "GatherElements": _gather_elements,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "NonZero": _non_zero,
    "Pad": _pad,
    "Range": _range,
    "Reshape": layout_rules.reshape,
    "Shape": _shape,
    "Slice": layout_rules.slice_,
    "Split": _split,
    "Squeeze": layout_rules.squeeze,
    "Tile": _tile,
    "TopK": _top,
    "Transpose": layout_rules.transpose,
    "Unsqueeze": layout_rules.unsqueeze,
}

_RULES_OF_DOMAIN: dict[str, dict[str, Callable[[ir.Node, Known], list[Partial]]]] = {
    "": RULES,
    "com.microsoft": {
        "FastGelu": _same,
        "FusedConv": _batch_and_channels,
        "Gelu": _same,
        "MultiHeadAttention": _multi_head_attention,
        "SkipLayerNormalization": _skip_layernorm,
    },
}
