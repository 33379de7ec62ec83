"""Small random graphs over the operator families that the passes rewrite, for property-based tests.

Values are float32 tensors of rank 1 to 4. One axis may be dynamic: declared as ``N`` and `BATCH` long when it is run. A
graph is drawn as a list of integers, so that hypothesis can shrink it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.passes.random_fusions import FUSIONS

BATCH = 2
_MAX_ELEMENTS = 400


@dataclass
class Builder:
    """A graph that grows by one step at a time; `choose` draws a number below its argument."""

    choose: Callable[[int], int]
    opset: int = 17
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    values: list[tuple[str, tuple[int, ...], bool]] = field(default_factory=list)
    """Name, shape at run time, and whether the first axis is the dynamic one."""

    def node(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def weight(self, array: Any) -> str:
        name = f"w{len(self.weights)}"
        if self.choose(2):
            self.weights.append(onnx.numpy_helper.from_array(np.asarray(array), name))
            return name
        tensor = onnx.numpy_helper.from_array(np.asarray(array))
        self.weights.append(onnx.numpy_helper.from_array(np.zeros(0, np.float32), name))  # keeps the numbering
        return self.node("Constant", [], value=tensor)[0]

    def reduced(self, name: str, axis: int, keep: int = 1, op: str = "ReduceMean") -> str:
        """A reduction over one axis, which is an input from opset 18 on."""
        if self.opset >= 18:
            return self.node(op, [name, self.weight(np.array([axis], np.int64))], keepdims=keep)[0]
        return self.node(op, [name], axes=[axis], keepdims=keep)[0]

    def numbers(self, *shape: int) -> str:
        """A float32 weight without a pattern, between -1 and 1."""
        return self.weight(np.sin(np.arange(np.prod(shape), dtype=np.float32) * 7 + self.choose(3)).reshape(shape))

    def pick(self) -> tuple[str, tuple[int, ...], bool]:
        return self.values[-1 - self.choose(min(4, len(self.values)))]

    def add(self, name: str, shape: tuple[int, ...], dynamic: bool) -> None:
        if 0 < len(shape) <= 4 and np.prod(shape) <= _MAX_ELEMENTS:
            self.values.append((name, tuple(int(dim) for dim in shape), dynamic))


def _unary(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    op = ("Relu", "Tanh", "Neg", "Abs", "Identity", "Sigmoid", "Dropout", "Floor")[b.choose(8)]
    b.add(b.node(op, [name])[0], shape, dynamic)


def _with_constant(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    op, number = (("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1), ("Add", 1e-12), ("Mul", 2), ("Add", -1))[b.choose(7)]
    form = ((), (1,), (1,) * len(shape), (shape[-1],), (1, *shape), (1,) * (len(shape) + 1))[b.choose(6)]
    array = np.full(form, number, np.float32)
    out = np.broadcast_shapes(shape, form)
    swap = op in ("Add", "Mul") and b.choose(2)
    inputs = [b.weight(array), name] if swap else [name, b.weight(array)]
    b.add(b.node(op, inputs)[0], out, dynamic and len(out) == len(shape))


def _binary(b: Builder) -> None:
    (left, a, x), (right, c, y) = b.pick(), b.pick()
    if a == c and x == y:
        b.add(b.node(("Add", "Mul", "Sub", "Max")[b.choose(4)], [left, right])[0], a, x)


def _transpose(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    order = list(range(len(shape)))
    for i in range(len(order) - 1, 0, -1):
        j = b.choose(i + 1)
        order[i], order[j] = order[j], order[i]
    # A dynamic axis that is not the first is not followed by this builder any more, only by the passes.
    b.add(b.node("Transpose", [name], perm=order)[0], tuple(shape[i] for i in order), dynamic and order[0] == 0)


def _reshape(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    rest = int(np.prod(shape[1:])) if dynamic else int(np.prod(shape))
    divisor = next(d for d in (2, 3, 4, 6, 1) if rest % d == 0 and (d == 1 or b.choose(2)))
    parts = [part for part in (rest // divisor, divisor) if part != 1 or b.choose(2)] or [rest]
    target = [0, *parts] if dynamic and len(shape) > 0 else parts
    if dynamic and b.choose(2):
        target[0] = -1
    out = (shape[0], *parts) if dynamic else tuple(parts)
    b.add(b.node("Reshape", [name, b.weight(np.array(target, np.int64))])[0], out, dynamic)


def _computed_reshape(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    (source,) = b.node("Shape", [name])
    (first,) = b.node("Gather", [source, b.weight(np.array(0, np.int64))], axis=0)
    (axis,) = b.node("Unsqueeze", [first, b.weight(np.array([0], np.int64))])
    rest = int(np.prod(shape[1:]))
    (target,) = b.node("Concat", [axis, b.weight(np.array([rest, 1], np.int64))], axis=0)
    b.add(b.node("Reshape", [name, target])[0], (shape[0], rest, 1), dynamic)


def _expand(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    (target,) = b.node("Shape", [b.pick()[0] if b.choose(2) else name])
    if self_shape := b.choose(2):
        (target,) = b.node("Shape", [name])
    if self_shape:
        b.add(b.node("Expand", [name, target])[0], shape, dynamic)
    else:
        b.node("Size", [target])


def _axes(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    at = b.weight(np.array([len(shape)], np.int64))
    (made,) = b.node("Unsqueeze", [name, at])
    b.add(made, (*shape, 1), dynamic)
    if b.choose(2):
        b.add(b.node("Squeeze", [made, at])[0], shape, dynamic)


def _softmax(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    b.add(b.node("Softmax", [name], axis=b.choose(len(shape)))[0], shape, dynamic)


def _reduce(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    axis, keep = b.choose(len(shape)), b.choose(2)
    out = tuple(1 if i == axis else d for i, d in enumerate(shape) if keep or i != axis)
    op = ("ReduceMean", "ReduceMax")[b.choose(2)]
    b.add(b.reduced(name, axis, keep, op), out, dynamic and axis != 0)


def _concat(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    axis = b.choose(len(shape))
    count = 1 + b.choose(2)
    out = tuple(d * count if i == axis else d for i, d in enumerate(shape))
    b.add(b.node("Concat", [name] * count, axis=axis)[0], out, dynamic and (axis != 0 or count == 1))


def _split(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    axis = b.choose(len(shape))
    if shape[axis] % 2 == 0 and not (dynamic and axis == 0):
        half = tuple(d // 2 if i == axis else d for i, d in enumerate(shape))
        sizes = b.weight(np.array([shape[axis] // 2] * 2, np.int64))
        for part in b.node("Split", [name, sizes], outputs=2, axis=axis):
            b.add(part, half, dynamic)


def _slice(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    axis = b.choose(len(shape))
    start, end = ((0, 2**31), (0, shape[axis]), (1, 2**62), (0, 1))[b.choose(4)]
    length = len(range(shape[axis])[start:end])
    if length:
        bounds = [b.weight(np.array([number], np.int64)) for number in (start, end, axis, 1)]
        out = tuple(length if i == axis else d for i, d in enumerate(shape))
        b.add(b.node("Slice", [name, *bounds])[0], out, dynamic and (axis != 0 or (start == 0 and end > BATCH)))


def _pad(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    pads = [0] * (2 * len(shape))
    pads[-1] = b.choose(2)
    out = (*shape[:-1], shape[-1] + pads[-1])
    b.add(
        b.node("Pad", [name, b.weight(np.array(pads, np.int64))])[0], out, dynamic and (len(shape) > 1 or not pads[-1])
    )


def _matmul(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    if len(shape) > 1:
        weight = b.weight(np.arange(shape[-1] * 3, dtype=np.float32).reshape(3, shape[-1]) / 10 - 0.5)
        (turned,) = b.node("Transpose", [weight], perm=[1, 0])
        b.add(b.node("MatMul", [name, turned])[0], (*shape[:-1], 3), dynamic)


def _cast(b: Builder) -> None:
    name, shape, dynamic = b.pick()
    (wide,) = b.node("Cast", [name], to=TensorProto.DOUBLE)
    b.add(b.node("Cast", [wide], to=TensorProto.FLOAT)[0], shape, dynamic)


STEPS = (
    _unary, _with_constant, _binary, _transpose, _transpose, _reshape, _computed_reshape, _expand, _axes, _softmax,
    _reduce, _concat, _split, _slice, _pad, _matmul, _cast, *FUSIONS,
)  # fmt: skip


def models(*, max_steps: int = 14) -> st.SearchStrategy[onnx.ModelProto]:
    """A valid model with one or two inputs, of which any values may be outputs."""

    @st.composite
    def strategy(draw: st.DrawFn) -> onnx.ModelProto:
        return build(lambda below: draw(st.integers(0, below - 1)), max_steps)

    return strategy()


def build(choose: Callable[[int], int], max_steps: int) -> onnx.ModelProto:
    """The model that the numbers of `choose` describe."""
    builder = Builder(choose, opset=(17, 13, 20, 23)[choose(4)])
    inputs = []
    for i in range(1 + choose(2)):
        dynamic = bool(choose(2))
        shape = ((BATCH, 3, 4), (BATCH, 4, 6), (BATCH, 12))[choose(3)]
        builder.values.append((f"x{i}", shape, dynamic))
        inputs.append(helper.make_tensor_value_info(f"x{i}", 1, ["N" if dynamic else BATCH, *shape[1:]]))
    given = len(builder.values)
    for _ in range(1 + choose(max_steps)):
        STEPS[choose(len(STEPS))](builder)
    if len(builder.values) == given:
        _unary(builder)
    made = builder.values[given:]
    named = {made[-1][0], *(made[choose(len(made))][0] for _ in range(choose(3)))}
    ranks = {name: len(shape) for name, shape, _ in made if name in named}
    outputs = [helper.make_tensor_value_info(name, 1, [None] * rank) for name, rank in ranks.items()]
    weights = [weight for weight in builder.weights if weight.dims != [0]]
    graph = helper.make_graph(builder.nodes, "random", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", builder.opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
