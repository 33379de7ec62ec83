"""More steps for `random_programs`: operators that are rare in exports of transformers, and common in people's files.

Quantized pairs, recurrent layers with zero states, loops that carry shapes, windows whose sizes are computed, Einsum,
selections by content, uneven splits, and casts through 16 bits.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.passes.random_programs import Program, Step, Value
from tests.passes.random_steps import STEPS

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _size_of(p: Program, value: Value, axis: int) -> Value:
    """The size of one axis, as a vector of one."""
    (shape,) = p.emit("Shape", [value])
    if p.draw.random() < 0.5:
        return p.emit("Gather", [shape, p.integers(axis)], axis=0)[0]
    return p.emit("Slice", [shape, p.integers(axis), p.integers(axis + 1), p.integers(0)])[0]


def quantized(p: Program) -> None:
    """A pair of QuantizeLinear and DequantizeLinear, or two with an operator between, or a quantized weight."""
    value = p.pick(("float32",), rank=1, exact=True)
    kind = p.draw.choice([np.uint8, np.int8])
    scale, zero = p.constant(np.float32(p.draw.choice([0.5, 0.25]))), p.constant(kind(p.draw.choice([0, 1, 3])))
    read = [value, scale, zero]

    def pair(name: str) -> list[onnx.NodeProto]:
        narrow, wide = p.name("q"), p.name("v")
        return [
            helper.make_node("QuantizeLinear", [name, scale.name, zero.name], [narrow]),
            helper.make_node("DequantizeLinear", [narrow, scale.name, zero.name], [wide]),
        ]

    nodes = pair(value.name)
    op = p.draw.choice(["", "", "Relu", "Identity", "Neg", "Transpose", "MatMul"])
    if op:
        operands, name = [nodes[-1].output[0]], p.name("v")
        if op == "MatMul":
            weight = p.constant(p.numbers("int64", (value.static_shape[-1], 2)).astype(np.int8))
            read += [weight, half := p.constant(np.float32(0.5))]
            operands.append(p.name("w"))
            nodes.append(helper.make_node("DequantizeLinear", [weight.name, half.name], operands[1:]))
        nodes.append(helper.make_node(op, operands, [name]))
        nodes += pair(name) if p.draw.random() < 0.6 else []
    p.take(nodes, read, [nodes[-1].output[0]])


def recurrent(p: Program) -> None:
    """A layer whose initial states are zeros that are computed from the size of the batch."""
    value = p.pick(("float32",), rank=3)
    if value.rank != 3 or not value.is_static(2):
        raise IndexError("no sequence")
    op, directions, hidden = p.draw.choice(["LSTM", "GRU", "RNN"]), p.draw.choice([1, 1, 2]), 2
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op] * hidden
    weights = [p.constant(p.numbers("float32", (directions, gates, n), -1, 1)) for n in (value.shape[2], hidden)]
    batch = _size_of(p, value, 1)
    (size,) = p.emit("Concat", [p.integers(directions), batch, p.integers(hidden)], axis=0)
    fill = p.draw.choice([0, 0, 0, 1])
    if p.draw.random() < 0.5:
        attribute = numpy_helper.from_array(np.array([fill], np.float32))
        (zeros,) = p.emit("ConstantOfShape", [size], value=attribute)
    else:
        (zeros,) = p.emit("Expand", [p.constant(np.float32(fill)), size])
    states = [zeros] * (2 if op == "LSTM" and p.draw.random() < 0.8 else 1)
    p.emit(
        op,
        [value, *weights, None, None, *states],
        outputs=p.draw.choice([1, 2]),
        exact=False,
        hidden_size=hidden,
        direction="bidirectional" if directions == 2 else "forward",
    )


def _port(name: str, kind: int, rank: int | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, None if rank is None else [None] * rank)


def looped(p: Program) -> None:
    """A Loop that carries a value, and mostly a shape or a size that grows."""
    value = p.pick(("float32",), rank=1)
    grows, name = p.draw.random() < 0.5, p.name("b")
    i, go, carried, out = (f"{name}{part}" for part in ("i", "go", "carried", "out"))
    step = p.draw.choice(["Relu", "Neg", "Identity", "Reshape", "Add"])
    nodes = [helper.make_node("Identity", [go], [f"{go}_out"])]
    if step == "Reshape":
        nodes += [
            helper.make_node("Shape", [carried], [f"{name}shape"]),
            helper.make_node("Reshape", [carried, f"{name}shape"], [f"{name}step"]),
        ]
    else:
        operands = [carried, value.name] if step == "Add" and not grows else [carried]
        nodes.append(helper.make_node(step if len(operands) > 1 or step != "Add" else "Abs", operands, [f"{name}step"]))
    read = f"{name}step"
    nodes.append(
        helper.make_node("Concat", [read, read], [out], axis=0) if grows else helper.make_node("Neg", [read], [out])
    )
    nodes.append(helper.make_node("Shape", [out], [f"{name}scan"]))
    body = helper.make_graph(
        nodes,
        name,
        [_port(i, INT64, 0), _port(go, TensorProto.BOOL, 0), _port(carried, FLOAT, value.rank)],
        [_port(f"{go}_out", TensorProto.BOOL, 0), _port(out, FLOAT, value.rank), _port(f"{name}scan", INT64, 1)],
    )
    trips = p.constant(np.array(p.draw.choice([0, 1, 2, 3])))
    p.emit("Loop", [trips, p.constant(np.array(True)), value], outputs=2, captured=[value], body=body)


def scanned(p: Program) -> None:
    """A Scan over the first axis, with a running sum."""
    value = p.pick(("float32",), rank=2)
    (first,) = (
        p.emit("ReduceSum", [value, p.integers(0)], keepdims=0)
        if p.opset >= 13
        else p.emit("ReduceSum", [value], axes=[0], keepdims=0)
    )
    name = p.name("b")
    state, row, total, scan = (f"{name}{part}" for part in ("state", "row", "total", "scan"))
    nodes = [
        helper.make_node("Add", [state, row], [total]),
        helper.make_node(p.draw.choice(["Identity", "Neg", "Relu"]), [total], [scan]),
    ]
    ports = [[_port(n, FLOAT, value.rank - 1) for n in names] for names in ((state, row), (total, scan))]
    body = helper.make_graph(nodes, name, *ports)
    p.emit("Scan", [first, value], outputs=2, body=body, num_scan_inputs=1)


def windowed(p: Program) -> None:
    """A Resize, Pad or Slice whose sizes are computed from the shape."""
    value = p.pick(("float32",), rank=2)
    axis = p.draw.randrange(value.rank)
    sizes = [_size_of(p, value, n) for n in range(value.rank)]
    kind = p.draw.choice(["Resize", "Pad", "Slice"])
    if kind == "Resize":
        (sizes[axis],) = p.emit("Mul", [sizes[axis], p.integers(p.draw.choice([1, 1, 2]))])
        (target,) = p.emit("Concat", sizes, axis=0)
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        p.emit("Resize", [value, None, None, target], **modes)
    elif kind == "Pad":
        (odd,) = p.emit(p.draw.choice(["Mod", "Sub"]), [sizes[axis], p.draw.choice([p.integers(2), sizes[axis]])])
        zeros = [p.integers(0)] * (2 * value.rank)
        zeros[axis + p.draw.choice([0, value.rank])] = odd
        p.emit("Pad", [value, p.emit("Concat", zeros, axis=0)[0]])
    else:
        (end,) = p.emit(p.draw.choice(["Sub", "Add", "Div"]), [sizes[axis], p.integers(p.draw.choice([0, 1, 1, 2]))])
        p.emit("Slice", [value, p.integers(0), end, p.integers(axis)])


def einsum(p: Program) -> None:
    value = p.pick(("float32",), rank=1)
    letters = "abcdef"[: value.rank]
    order = "".join(p.draw.sample(letters, p.draw.randint(0, value.rank)))
    if p.draw.random() < 0.4:
        p.emit("Einsum", [value], equation=f"{letters}->{order}")
    elif p.draw.random() < 0.5:
        weight = p.constant(p.numbers("float32", (value.static_shape[-1], 3), -1, 1))
        kept = letters[:-1] if p.draw.random() < 0.7 else ""
        p.emit("Einsum", [value, weight], equation=f"{letters},{letters[-1]}z->{kept}z")
    else:
        p.emit("Einsum", [value, value], equation=f"{letters},{letters}->{order}")


def selected(p: Program) -> None:
    """TopK, NonZero, and what gathers by their indices."""
    value = p.pick(("float32", "int64"), rank=1, exact=True)
    if p.draw.random() < 0.3:
        (found,) = p.emit("NonZero", [value])
        p.emit("Transpose", [found], perm=[1, 0])
        return
    axis = p.draw.choice([axis for axis in range(value.rank) if value.is_static(axis) and value.shape[axis]])
    count = p.integers(p.draw.randint(1, value.shape[axis]))
    best, indices = p.emit("TopK", [value, count], outputs=2, axis=axis, largest=p.draw.randint(0, 1))
    if p.draw.random() < 0.5:
        p.emit("GatherElements", [value, indices], axis=axis)
    elif p.draw.random() < 0.5:
        (flat,) = p.emit("Reshape", [indices, p.integers(-1)])
        p.emit("Gather", [value, flat], axis=axis)
    else:
        p.emit("Neg", [best])


def split_unevenly(p: Program) -> None:
    value = p.pick(rank=1)
    axis = p.draw.choice([axis for axis in range(value.rank) if value.is_static(axis) and value.shape[axis] > 1])
    size = value.shape[axis]
    if p.opset >= 18 and p.draw.random() < 0.5:
        parts = p.emit("Split", [value], outputs=2, axis=axis, num_outputs=2)
    else:
        at = sorted(p.draw.sample(range(1, size), min(size - 1, 2)))
        sizes = [b - a for a, b in zip([0, *at], [*at, size], strict=True)]
        if p.opset >= 13:
            parts = p.emit("Split", [value, p.integers(*sizes)], outputs=len(sizes), axis=axis)
        else:
            parts = p.emit("Split", [value], outputs=len(sizes), axis=axis, split=sizes)
    if p.draw.random() < 0.5:
        p.emit("Concat", parts if p.draw.random() < 0.7 else parts[::-1], axis=axis)


def through_16_bits(p: Program) -> None:
    value = p.pick(("float32",), exact=True)
    between, back = p.name("h"), p.name("v")
    half = p.draw.choice([TensorProto.BFLOAT16, TensorProto.FLOAT16])
    to = p.draw.choice([FLOAT, FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
    nodes = [helper.make_node("Cast", [value.name], [between], to=half)]
    if p.draw.random() < 0.3:
        nodes.append(helper.make_node("Identity", [between], [between := p.name("h")]))
    nodes.append(helper.make_node("Cast", [between], [back], to=to))
    p.take(nodes, [value], [back])


OPERATORS: tuple[tuple[Step, int], ...] = (
    *STEPS, (quantized, 12), (recurrent, 8), (looped, 8), (scanned, 5), (windowed, 12), (einsum, 8), (selected, 8),
    (split_unevenly, 8), (through_16_bits, 8),
)  # fmt: skip
"""Each with its weight."""
