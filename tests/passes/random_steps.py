"""The steps of which `random_programs` makes its graphs: what exporters write, and what passes look for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.passes.random_programs import DTYPES, FLOATS, NUMBERS, Program, Step, Value


def _axis(p: Program, value: Value) -> int:
    axis = p.draw.randrange(value.rank)
    return axis - value.rank if p.draw.random() < 0.4 else axis


def unary(p: Program) -> None:
    value = p.pick()
    exact_ops = {"bool": ["Not"], "float": ["Neg", "Abs", "Relu", "Identity", "Dropout"]}
    rounding = ["Tanh", "Sigmoid", "Erf", "Softplus", "LeakyRelu", "HardSigmoid", "Elu", "Exp", "Sqrt", "Reciprocal"]
    if value.dtype not in FLOATS:
        p.emit(p.draw.choice(exact_ops.get(value.dtype, ["Neg", "Abs", "Identity", "Sign"])), [value])
    elif p.draw.random() < 0.5:
        stepwise = ["Sign", "Floor", "Ceil", "Round"] if value.exact else []
        p.emit(p.draw.choice(exact_ops["float"] + stepwise), [value])
    else:
        p.emit(p.draw.choice(rounding), [value], exact=False)


def with_constant(p: Program) -> None:
    value = p.pick()
    shape = [1 if p.draw.random() < 0.4 else size for size in value.static_shape]
    if p.draw.random() < 0.3:
        shape = shape[p.draw.randrange(len(shape) + 1) :]
    elif p.draw.random() < 0.1:
        shape = [p.draw.choice([1, 1, 2]), *shape]
    filled = p.draw.choice([0, 1, -1 if value.dtype != "uint8" else 3, None, None])
    array = p.numbers(value.dtype, shape) if filled is None else np.full(shape, filled).astype(DTYPES[value.dtype])
    constant = p.constant(array)
    if value.dtype == "bool":
        ops = ["And", "Or", "Xor"]
    else:
        ops = [
            "Add",
            "Sub",
            "Mul",
            "Mul",
            "Add",
            "Div",
            "PRelu",
            *(["Max", "Min", "Greater", "Equal"] if value.exact else []),
        ]
    op = p.draw.choice(ops)
    operands = [value, constant] if p.draw.random() < 0.65 or op == "PRelu" else [constant, value]
    p.emit(op, operands, exact=op != "Div" or value.dtype not in FLOATS)


def binary(p: Program) -> None:
    left = p.pick()
    right = p.pick((left.dtype,))
    ops = ["And", "Or", "Xor"] if left.dtype == "bool" else ["Add", "Sub", "Mul", "Sum"]
    compared = ["Max", "Min", "Equal", "Greater"] if left.exact and right.exact and left.dtype != "bool" else []
    p.emit(p.draw.choice(ops + compared), [left, right])


def where(p: Program) -> None:
    value = p.pick(NUMBERS)
    p.emit("Where", [p.pick(("bool",)), value, p.pick((value.dtype,))])


def cast(p: Program) -> None:
    value = p.pick()
    for _ in range(p.draw.randint(1, 2)):
        to = p.draw.choice(list(DTYPES) if value.exact else FLOATS)
        if to == "uint8" and value.dtype not in ("uint8", "bool"):
            (value,) = p.emit("Abs", [value])
        (value,) = p.emit("Cast", [value], to=helper.np_dtype_to_tensor_dtype(np.dtype(to)), exact=to != "float16")


def transpose_and_back(p: Program) -> None:
    value = p.pick(rank=1)
    order = p.draw.sample(range(value.rank), value.rank)
    p.emit("Transpose", [value], perm=order)
    if p.draw.random() < 0.4:
        for _ in range(p.draw.randrange(3)):
            p.draw.choice([unary, with_constant, joined, cut, reduced])(p)
        if p.values[-1].rank == len(order):
            p.emit("Transpose", [p.values[-1]], perm=[order.index(axis) for axis in range(len(order))])


def _unsqueezed(p: Program, value: Value, axis: int) -> Value:
    if p.opset >= 13:
        return p.emit("Unsqueeze", [value, p.integers(axis)])[0]
    return p.emit("Unsqueeze", [value], axes=[axis])[0]


def reshape_by_shape(p: Program) -> None:
    """A Reshape to sizes that are read from the value, multiplied and put together."""
    value = p.pick(rank=1)
    (shape,) = p.emit("Shape", [value])
    parts = []
    for axis in range(value.rank):
        if p.draw.random() < 0.5:
            at = axis if p.draw.random() < 0.7 else axis - value.rank
            (size,) = p.emit("Gather", [shape, p.constant(np.array(at))], axis=0)
            part = _unsqueezed(p, size, 0)
        else:
            (part,) = p.emit("Slice", [shape, p.integers(axis), p.integers(axis + 1), p.integers(0)])
        parts.append(p.integers(value.shape[axis]) if value.is_static(axis) and p.draw.random() < 0.5 else part)
    if len(parts) > 1 and p.draw.random() < 0.4:
        at = p.draw.randrange(len(parts) - 1)
        parts[at : at + 2] = p.emit("Mul", parts[at : at + 2])
    if p.draw.random() < 0.35:
        parts[p.draw.randrange(len(parts))] = p.integers(-1)
    if p.draw.random() < 0.3:
        parts.insert(p.draw.randrange(len(parts) + 1), p.integers(1))
    p.emit("Reshape", [value, p.emit("Concat", parts, axis=0)[0]])


def reshape_to_constant(p: Program) -> None:
    value = p.pick(rank=1)
    target = [size if value.is_static(axis) and p.draw.random() < 0.7 else 0 for axis, size in enumerate(value.shape)]
    at = p.draw.randrange(len(target))
    changed = p.draw.choice(["rest", "merge", "split", "flat", "one"])
    if changed == "rest":
        target[at] = -1
    elif changed == "merge":
        target[at : at + 2] = [-1]
        target[at + 1 :] = value.static_shape[at + 2 :]
    elif changed == "split" and value.is_static(at) and value.shape[at] % 2 == 0:
        target[at : at + 1] = [2, value.shape[at] // 2]
        target[at + 2 :] = value.static_shape[at + 1 :]
    elif changed == "flat":
        target = [-1]
    else:
        target.append(1)
    p.emit("Reshape", [value, p.integers(*target)])


def axes(p: Program) -> None:
    value = p.pick(rank=1)
    ones = [axis for axis in range(value.rank) if value.is_static(axis) and value.shape[axis] == 1]
    if ones and p.draw.random() < 0.6:
        axis = p.draw.choice(ones)
        p.emit("Squeeze", [value, p.integers(axis)]) if p.opset >= 13 else p.emit("Squeeze", [value], axes=[axis])
    elif p.draw.random() < 0.4:
        p.emit("Flatten", [value], axis=p.draw.randint(-value.rank, value.rank))
    else:
        _unsqueezed(p, value, p.draw.randint(0, value.rank))


def cut(p: Program) -> None:
    """A Slice over one or two axes, whose bounds exporters write in many ways."""
    value = p.pick(rank=1)
    chosen = p.draw.sample(range(value.rank), p.draw.choice([1, 1, 2]) if value.rank > 1 else 1)
    rows = []
    for axis in chosen:
        size, step = value.shape[axis], p.draw.choice([1, 1, 1, 2, -1, -2])
        start = p.draw.choice([0, 0, 1, -1, -size, -100] if step > 0 else [-1, 2**63 - 1, size - 1, 100])
        end = p.draw.choice([2**63 - 1, 2**31 - 1, size, size - 1, -1] if step > 0 else [-(2**63), -100, 0, -size - 1])
        rows.append((start, end, axis if p.draw.random() < 0.6 else axis - value.rank, step))
    p.emit("Slice", [value, *(p.integers(*column) for column in zip(*rows, strict=True))])


def repeated(p: Program) -> None:
    value = p.pick()
    if p.draw.random() < 0.5:
        other = p.pick()
        (made,) = p.emit("Expand", [value, p.emit("Shape", [other])[0]])
        if made.dtype == other.dtype != "bool":
            p.emit("Add", [made, other])
    elif p.draw.random() < 0.7:
        target = [size if p.draw.random() < 0.5 else 1 for size in value.static_shape]
        target = [p.draw.choice([2, 3]) if size == 1 and p.draw.random() < 0.3 else size for size in target]
        p.emit("Expand", [value, p.integers(*target)])
    elif value.rank:
        p.emit("Tile", [value, p.integers(*(p.draw.choice([1, 1, 2]) for _ in range(value.rank)))])


def joined(p: Program) -> None:
    value = p.pick(rank=1)
    others = [v for v in p.values if v.dtype == value.dtype and v.rank == value.rank]
    parts = [p.draw.choice(others) if p.draw.random() < 0.5 else value for _ in range(p.draw.randint(1, 3))]
    axis = _axis(p, value)
    (made,) = p.emit("Concat", parts, axis=axis)
    if p.draw.random() < 0.2:
        p.emit("Concat", [made, value], axis=axis)


def split(p: Program) -> None:
    value = p.pick(rank=1)
    axis = p.draw.choice([axis for axis in range(value.rank) if value.is_static(axis) and value.shape[axis] > 1])
    first = p.draw.randint(1, value.shape[axis] - 1)
    sizes = [first, value.shape[axis] - first]
    if p.opset >= 13:
        parts = p.emit("Split", [value, p.integers(*sizes)], outputs=2, axis=axis)
    else:
        parts = p.emit("Split", [value], outputs=2, axis=axis, split=sizes)
    if p.draw.random() < 0.3:
        p.emit("Concat", parts if p.draw.random() < 0.6 else parts[::-1], axis=axis)


def reduced(p: Program) -> None:
    value = p.pick(NUMBERS, rank=1)
    op = p.draw.choice(["ReduceSum", "ReduceMean", "ReduceL2", *(["ReduceMax", "ReduceMin"] if value.exact else [])])
    chosen = sorted(p.draw.sample(range(value.rank), p.draw.randint(1, min(2, value.rank))))
    keep, exact = p.draw.randint(0, 1), op in ("ReduceSum", "ReduceMax", "ReduceMin")
    if p.opset >= (13 if op == "ReduceSum" else 18):
        p.emit(op, [value, p.integers(*chosen)], exact=exact, keepdims=keep)
    else:
        p.emit(op, [value], exact=exact, axes=chosen, keepdims=keep)


def gathered(p: Program) -> None:
    value = p.pick(rank=1)
    axis = p.draw.choice([axis for axis in range(value.rank) if value.is_static(axis) and value.shape[axis]])
    size = value.shape[axis]
    indices = np.array([p.draw.randrange(-size, size) for _ in range(p.draw.randint(1, 3))])
    p.emit("Gather", [value, p.constant(indices if p.draw.random() < 0.6 else indices[0])], axis=axis)


def product(p: Program) -> None:
    """A MatMul with a weight, or its transpose, and mostly a bias."""
    value = p.pick(FLOATS, rank=1)
    inner, outer = value.static_shape[-1], p.draw.choice([1, 3, value.static_shape[-1]])
    if p.draw.random() < 0.5:
        (weight,) = p.emit("Transpose", [p.constant(p.numbers(value.dtype, (outer, inner), -1, 1))], perm=[1, 0])
    else:
        weight = p.constant(p.numbers(value.dtype, (inner, outer), -1, 1))
    (made,) = p.emit("MatMul", [value, weight])
    if p.draw.random() < 0.7:
        shape = p.draw.choice([(outer,), (1, outer), (1,), (), (1, 1, outer), made.static_shape])
        terms = [made, p.constant(p.numbers(value.dtype, shape))]
        p.emit("Add", terms if p.draw.random() < 0.5 else terms[::-1])


def convolution(p: Program) -> None:
    value = p.pick(("float32",), rank=4)
    channels, out = value.static_shape[1], p.draw.choice([1, 2, 4])
    if not channels:
        return  # onnxruntime 1.31 leaves the result as it found the memory, NaN now and then
    if p.draw.random() < 0.3:
        pads = [0, 0, *(p.draw.choice([0, 1]) for _ in range(2)), 0, 0, *(p.draw.choice([0, 1]) for _ in range(2))]
        (value,) = p.emit("Pad", [value, p.integers(*pads)])
    weight = p.constant(p.numbers("float32", (out, channels, 1, 1), -1, 1))
    (made,) = p.emit("Conv", [value, weight])
    if p.draw.random() < 0.4:
        (made,) = p.emit("Add", [made, p.constant(p.numbers("float32", (1, out, 1, 1)))])
    if p.draw.random() < 0.6:
        rows = [p.constant(p.numbers("float32", (out,), 1, 3)) for _ in range(4)]
        (made,) = p.emit("BatchNormalization", [made, *rows], exact=False)
    if p.draw.random() < 0.4:
        p.emit("Relu", [made])
    elif p.draw.random() < 0.3:
        p.emit("MaxPool", [made], kernel_shape=[1, 1], strides=[2, 2], ceil_mode=p.draw.randint(0, 1), exact=made.exact)


def normalized(p: Program) -> None:
    value = p.pick(("float32",), rank=1)
    if p.draw.random() < 0.4:
        p.emit("Softmax", [value], axis=-1, exact=False)
        return
    mean_of = lambda v: (  # noqa: E731 - twice below
        p.emit("ReduceMean", [v, p.integers(-1)], exact=False)
        if p.opset >= 18
        else p.emit("ReduceMean", [v], axes=[-1], exact=False)
    )[0]
    (centred,) = p.emit("Sub", [value, mean_of(value)], exact=False)
    (squares,) = p.emit("Mul", [centred, centred], exact=False)
    (guarded,) = p.emit("Add", [mean_of(squares), p.constant(np.array(0.01, np.float32))], exact=False)
    p.emit("Div", [centred, p.emit("Sqrt", [guarded], exact=False)[0]], exact=False)


def choice(p: Program) -> None:
    """An If, on a constant or on a computed condition, with small branches, sometimes one inside the other."""
    value = p.pick(NUMBERS)
    if p.draw.random() < 0.4:
        condition = p.constant(np.array(p.draw.random() < 0.5))
    else:
        (total,) = p.emit("ReduceSum", [p.pick(("float32", "int64"), exact=True)], keepdims=0)
        (condition,) = p.emit("Greater", [total, p.constant(np.zeros((), total.arrays[0].dtype))])
    branches = [_branch(p, value, condition, depth=p.draw.randint(0, 1)) for _ in range(2)]
    p.emit("If", [condition], captured=[value], then_branch=branches[0], else_branch=branches[1])


def _branch(p: Program, value: Value, condition: Value, *, depth: int) -> onnx.GraphProto:
    nodes, weights, current = [], [], value.name
    for _ in range(p.draw.randint(1, 3)):
        made, op = p.name("s"), p.draw.choice(["Neg", "Abs", "Identity", "Add", "Mul"])
        operands = [current]
        if op in ("Add", "Mul"):
            number = np.array(p.draw.choice([0, 1, 2]), DTYPES[value.dtype])
            weights.append(onnx.numpy_helper.from_array(number, p.name("k")))
            operands.append(weights[-1].name)
        nodes.append(helper.make_node(op, operands, [made]))
        current = made
    if depth:
        inner = [_branch(p, value, condition, depth=0) for _ in range(2)]
        made = p.name("s")
        nodes.append(helper.make_node("If", [condition.name], [made], then_branch=inner[0], else_branch=inner[1]))
        current = made
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    output = helper.make_tensor_value_info(current, elem_type, [None] * value.rank)
    return helper.make_graph(nodes, p.name("branch"), [], [output], weights)


def arithmetic_on_a_shape(p: Program) -> None:
    (value,) = p.emit("Shape", [p.pick(rank=1)])
    for _ in range(p.draw.randint(1, 3)):
        kind = p.draw.randrange(5)
        if kind == 0:
            number = np.array(p.draw.choice([1, 2, -1, 3])).reshape(p.draw.choice([(), (1,)]))
            op = p.draw.choice(["Add", "Mul", "Sub", "Div", "Mod", "Max", "Min"])
            (value,) = p.emit(op, [value, p.constant(number)])
        elif kind == 1 and value.rank == 1:
            (value,) = p.emit("Gather", [value, p.constant(np.array(p.draw.randrange(value.shape[0])))])
        elif kind == 2:
            (value,) = p.emit("ReduceProd", [value], keepdims=p.draw.randint(0, 1))
        elif kind == 3 and value.rank == 1:
            (value,) = p.emit("Concat", [value, value], axis=0)
        elif kind == 4 and value.rank == 1:
            fill: Any = np.array([p.draw.choice([0, 1, 2])], p.draw.choice([np.float32, np.int64]))
            p.emit("ConstantOfShape", [value], value=onnx.numpy_helper.from_array(fill))
            return


def again(p: Program) -> None:
    """The same node once more."""
    by_name = {value.name: value for value in p.values}
    node = p.draw.choice([n for n in p.nodes[-12:] if len(n.output) == 1 and all(name in by_name for name in n.input)])
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type != onnx.AttributeProto.GRAPH}
    made = by_name.get(node.output[0])  # none of a Constant, nor of a node that was taken together with others
    if made is not None and node.op_type not in ("If", "Loop", "Scan"):
        p.emit(node.op_type, [by_name[name] for name in node.input], exact=made.exact, **attributes)


STEPS: tuple[tuple[Step, int], ...] = (
    (unary, 8), (with_constant, 12), (binary, 8), (where, 3), (cast, 6), (transpose_and_back, 9), (reshape_by_shape, 6),
    (reshape_to_constant, 6), (axes, 5), (cut, 6), (repeated, 6), (joined, 5), (split, 4), (reduced, 6), (gathered, 4),
    (product, 8), (convolution, 6), (normalized, 5), (choice, 4), (arithmetic_on_a_shape, 5), (again, 3),
)  # fmt: skip
"""Each with its weight."""
