"""Steps for random graphs that draw what the fusing passes look for, now and then with a look-alike inside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

if TYPE_CHECKING:
    from tests.passes.random_graphs import Builder


def _conv(b: Builder) -> None:
    """[Pad,] [BatchNormalization,] a convolution and what may follow it; over the last axis of (batch, channels, n)."""
    name, shape, dynamic = b.pick()
    if len(shape) != 3 or shape[2] < 2 or shape[1] > 8:
        return
    if b.choose(2):
        pads = np.array([0, 0, b.choose(2), 0, 0, 1], np.int64)
        name = b.node("Pad", [name, b.weight(pads)])[0]
        shape = (*shape[:2], shape[2] + int(pads[2] + pads[5]))
    if b.choose(3) == 0:
        name = _norm(b, name, shape[1])
    transposed = b.choose(3) == 0
    weight = b.numbers(shape[1], 2, 2) if transposed else b.numbers(2, shape[1], 2)
    padded = 0 if transposed else b.choose(2)
    inputs = [name, weight] if b.choose(2) else [name, weight, b.numbers(2)]
    made = b.node("ConvTranspose" if transposed else "Conv", inputs, pads=[padded, 0])[0]
    length = shape[2] + 1 if transposed else shape[2] - 1 + padded
    b.add(made, (shape[0], 2, length), dynamic)
    follower = b.choose(5)
    if follower == 0:
        made = _norm(b, made, 2)
    elif follower == 1:
        factor = b.numbers(2, 1) if b.choose(2) else b.numbers(1, 2, 1)
        made = b.node("Add", [b.node("Mul", [made, factor])[0], b.numbers(2, 1)])[0]
    elif follower == 2:
        made = b.node(("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid")[b.choose(5)], [made])[0]
    elif follower == 3:
        made = b.node("Clip", [made, b.weight(np.float32(-0.5)), b.weight(np.float32(0.75))])[0]
    b.add(made, (shape[0], 2, length), dynamic)


def _norm(b: Builder, name: str, channels: int) -> str:
    numbers = [b.numbers(channels) for _ in range(3)]
    variance = b.weight(np.linspace(0.5, 2, channels, dtype=np.float32))
    return b.node("BatchNormalization", [name, *numbers, variance])[0]


def _linear(b: Builder) -> None:
    """MatMul and a bias, which in a matrix is a row or, square, a column; BatchNormalization behind a matrix."""
    name, shape, dynamic = b.pick()
    if len(shape) < 2 or shape[-1] > 24:
        return
    product = b.node("MatMul", [name, b.numbers(shape[-1], shape[-1])])[0]
    if len(shape) == 2 and b.choose(3) == 0:
        b.add(_norm(b, product, shape[-1]), shape, dynamic)
        return
    bias = b.numbers(shape[-1]) if b.choose(4) else name
    b.add(b.node("Add", [product, bias] if b.choose(2) else [bias, product])[0], shape, dynamic)


def _gemm(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    if len(shape) != 2:
        return
    turned = b.choose(2)
    weight = b.numbers(3, shape[1]) if turned else b.numbers(shape[1], 3)
    if b.choose(2):
        weight, turned = b.node("Transpose", [weight], perm=[1, 0])[0], 1 - turned
    b.add(b.node("Gemm", [name, weight, b.numbers(3)], transB=turned)[0], (shape[0], 3), dynamic)


def _layer_norm(b: Builder) -> None:
    """Written out with and without the mean, the scale and the bias."""
    name, shape, dynamic = b.pick()
    last = len(shape) - 1
    centered = b.node("Sub", [name, b.reduced(name, last)])[0] if b.choose(3) else name
    two = b.weight(np.float32(2))
    square = b.node("Pow", [centered, two])[0] if b.choose(2) else b.node("Mul", [centered, centered])[0]
    guard = b.node("Add", [b.reduced(square, last), b.weight(np.float32(1e-2))])[0]
    made = b.node("Div", [centered, b.node("Sqrt", [guard])[0]])[0]
    if b.choose(2):
        made = b.node("Mul", [made, b.numbers(shape[-1] if b.choose(3) else 1)])[0]
    if b.choose(2):
        made = b.node("Add", [made, b.numbers(shape[-1])])[0]
    b.add(made, shape, dynamic)


def _gelu(b: Builder) -> None:
    name, shape, dynamic = b.pick()

    def times(value: str, number: float) -> str:
        return b.node("Mul", [value, b.weight(np.float32(number))])[0]

    if b.choose(2):
        inside = b.node("Erf", [times(name, math.sqrt(0.5))])[0]
    else:
        cube = b.node("Pow", [name, b.weight(np.float32(3))])[0]
        plus = b.node("Add", [name, times(cube, 0.044715)])[0]
        inside = b.node("Tanh", [times(plus, math.sqrt(2 / math.pi))])[0]
    if b.choose(4) == 0:
        b.add(inside, shape, dynamic)  # read elsewhere
    bracket = b.node("Add", [inside, b.weight(np.float32(1))])[0]
    b.add(b.node("Mul", [times(name, 0.5), bracket])[0], shape, dynamic)


def _attention(b: Builder) -> None:
    """Of two heads, projected from one value, scaled, with a mask, with a guard against NaN, or without these."""
    name, shape, dynamic = b.pick()
    if len(shape) != 3 or shape[2] % 2 or shape[2] > 12:
        return
    width = shape[2]
    heads, joined = (b.weight(np.array(to, np.int64)) for to in ([0, 0, 2, width // 2], [0, 0, width]))
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        product = b.node("MatMul", [name, b.numbers(width, width)])[0]
        if b.choose(3):
            product = b.node("Add", [product, b.numbers(width)])[0]
        parts.append(b.node("Transpose", [b.node("Reshape", [product, heads])[0]], perm=perm)[0])
    if b.choose(2):
        parts[:2] = [b.node("Mul", [part, b.weight(np.float32(0.7))])[0] for part in parts[:2]]
    scores = b.node("MatMul", parts[:2])[0]
    if b.choose(2):
        scores = b.node("Div", [scores, b.weight(np.float32(1.4))])[0]
    if b.choose(2):
        lowest = (np.finfo(np.float32).min, -np.inf)[b.choose(2)]
        mask = np.triu(np.full((shape[1], shape[1]), lowest, np.float32), 1)
        scores = b.node("Add", [scores, b.weight(mask)])[0]
    weights = b.node("Softmax", [scores], axis=-1)[0]
    if b.choose(2):
        weights = b.node("Where", [b.node("IsNaN", [weights])[0], b.weight(np.float32(0)), weights])[0]
    context = b.node("Transpose", [b.node("MatMul", [weights, parts[2]])[0]], perm=[0, 2, 1, 3])[0]
    b.add(b.node("Reshape", [context, joined])[0], shape, dynamic)


def _einsum(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    if len(shape) == 3:
        equation = ("bij,jk->bik", "bij,jk->bki")[b.choose(2)]
        made = b.node("Einsum", [name, b.numbers(shape[2], 2)], equation=equation)[0]
        b.add(made, (shape[0], shape[1], 2) if equation.endswith("ik") else (shape[0], 2, shape[1]), dynamic)


def _standard_forms(b: Builder) -> None:
    """The operators that a preparation writes out."""
    name, shape, dynamic = b.pick()
    if b.choose(2) and b.opset >= 17:
        inputs = [name, b.numbers(shape[-1]), b.numbers(shape[-1])]
        b.add(b.node("LayerNormalization", inputs, epsilon=1e-2)[0], shape, dynamic)
    elif b.opset >= 20:
        b.add(b.node("Gelu", [name], approximate=("none", "tanh")[b.choose(2)])[0], shape, dynamic)


def _booleans(b: Builder) -> None:
    """A choice by a condition with operators in it that change nothing."""
    name, shape, dynamic = b.pick()
    test = b.node("Greater", [name, b.weight(np.float32(0))])[0]
    op, neutral = (("And", True), ("Or", False))[b.choose(2)]
    test = b.node(op, [test, b.weight(np.array(neutral))])[0]
    if b.choose(2):
        test = b.node("Not", [b.node("Not", [test])[0]])[0]
    b.add(b.node("Where", [test, name, b.weight(np.float32(0.5))])[0], shape, dynamic)


def _doing_nothing(b: Builder) -> None:
    """Twice the same, there and back, or an operator that has nothing to do."""
    name, shape, dynamic = b.pick()
    kind = b.choose(6)
    if kind == 0:
        op = ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign", "Neg")[b.choose(7)]
        made = b.node(op, b.node(op, [name]))[0]
    elif kind == 1:
        made = b.node("Tile", [name, b.weight(np.ones(len(shape), np.int64))])[0]
    elif kind == 2:
        made = b.node(("Sum", "Max", "Min", "Mean")[b.choose(4)], [name])[0]
    elif kind == 3 and b.opset >= 15:
        made = b.node("CastLike", [name, b.pick()[0]])[0]
    elif kind == 4 and len(shape) == 2:
        made = b.node("Flatten", [name])[0]
    else:
        made = b.node("Pow", [name, b.weight(np.float32(1))])[0]
    b.add(made, shape, dynamic)


def _branches(b: Builder) -> None:
    """An If with a condition that is constant or computed; its branches capture what is outside."""
    name, shape, dynamic = b.pick()
    condition = b.weight(np.array(bool(b.choose(2))))
    if b.choose(2):
        total = b.node("ReduceMax", [name], keepdims=0)[0]
        condition = b.node("Greater", [total, b.weight(np.float32(0.5))])[0]
    branches = []
    for op in ("Relu", "Neg"):
        inner = f"{op}_{len(b.nodes)}"
        nodes = [helper.make_node(op, [name], [f"{inner}_a"]), helper.make_node("Identity", [f"{inner}_a"], [inner])]
        value = helper.make_tensor_value_info(inner, 1, [None] * len(shape))
        branches.append(helper.make_graph(nodes, inner, [], [value]))
    b.add(b.node("If", [condition], then_branch=branches[0], else_branch=branches[1])[0], shape, dynamic)


FUSIONS = (
    _conv, _conv, _linear, _linear, _gemm, _layer_norm, _gelu, _attention, _einsum, _standard_forms, _booleans,
    _doing_nothing, _branches,
)  # fmt: skip
