"""Random graphs of seven dtypes, several dynamic sizes, computed shapes, branches, and opsets 11 to 23.

Each step is run in onnxruntime as it is drawn, for two choices of the dynamic sizes: a step that it refuses, or whose
result is large, is not taken. Rounding is followed: only values that every implementation computes alike are compared,
rounded or turned into integers. `random_steps.STEPS` are the steps; a seed is a graph.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]

DTYPES: dict[str, type[np.generic]] = {
    "float32": np.float32, "float16": np.float16, "float64": np.float64, "int64": np.int64, "int32": np.int32,
    "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip
FLOATS = ("float32", "float16", "float64")
NUMBERS = (*FLOATS, "int64", "int32")
SIZES = ({"N": 3, "M": 2}, {"N": 1, "M": 1})
"""Sizes under which a graph is drawn."""
MORE_SIZES = (*SIZES, {"N": 4, "M": 1}, {"N": 2, "M": 5})
"""Sizes under which it is compared, where it runs."""

_INPUTS: tuple[tuple[str | int, ...], ...] = (
    ("N", 3, 4), ("N", "M", 4), ("M", "N"), ("N", 4), (2, 4, 3), ("N", 4, 2, 3), (4,), (), ("N", 1, 4), ("N", "N"),
    (1, 4, "M"), (2, 1, 1), ("N", 2, "M", 4), (6,), ("N", 12),
)  # fmt: skip
_MAX_ELEMENTS, _MAX_RANK = 600, 6


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the graph: what it is under each of `SIZES`, and whether that is the same in every implementation."""

    name: str
    arrays: tuple[Array, ...]
    exact: bool
    constant: bool = False

    @property
    def dtype(self) -> str:
        return self.arrays[0].dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.arrays[0].shape

    @property
    def rank(self) -> int:
        return self.arrays[0].ndim

    def is_static(self, axis: int) -> bool:
        return len({array.shape[axis] for array in self.arrays}) == 1

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape with 1 for every dynamic axis."""
        return tuple(size if self.is_static(axis) else 1 for axis, size in enumerate(self.shape))


@dataclass
class Program:
    """A graph that grows by one step at a time."""

    draw: random.Random
    opset: int
    inputs: list[tuple[str, str, tuple[str | int, ...]]] = field(default_factory=list)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    _names: int = 0

    def name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    def constant(self, array: Any) -> Value:
        """A Constant node or an initializer."""
        array, name = np.asarray(array), self.name("c")
        if self.draw.random() < 0.35:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        else:
            self.weights.append(numpy_helper.from_array(array, name))
        return Value(name, (array,) * len(SIZES), exact=True, constant=True)

    def integers(self, *numbers: int) -> Value:
        """A vector of int64."""
        return self.constant(np.array(numbers, np.int64))

    def numbers(self, dtype: str, shape: Sequence[int], low: int = -3, high: int = 3) -> Array:
        """Small numbers, halves among the floats: their sums and products are exact."""
        count = int(np.prod(shape))
        if dtype in FLOATS:
            drawn: list[float] = [self.draw.randint(low * 2, high * 2) / 2 for _ in range(count)]
        else:
            drawn = [
                self.draw.randint(*{"bool": (0, 1), "uint8": (0, 4)}.get(dtype, (low, high))) for _ in range(count)
            ]
        return np.array(drawn, DTYPES[dtype]).reshape(shape)

    def pick(self, dtypes: Sequence[str] | None = None, *, rank: int = 0, exact: bool = False) -> Value:
        """One of the values so far, late ones more often, of rank `rank` or more. Raises IndexError for none."""
        fit = [v for v in self.values if (dtypes is None or v.dtype in dtypes) and v.rank >= rank and v.exact >= exact]
        return fit[-1 - min(len(fit) - 1, int(self.draw.expovariate(0.35)))]

    def emit(
        self,
        op: str,
        inputs: Sequence[Value | None],
        *,
        outputs: int = 1,
        exact: bool = True,
        captured: Iterable[Value] = (),
        **attributes: Any,
    ) -> list[Value]:
        """Add a node, and give what it makes; an IndexError where onnxruntime does not compute it.

        Args:
            op, inputs, outputs, attributes: The node.
            exact: Whether every implementation computes the operator alike.
            captured: What its subgraphs read.
        """
        names = [self.name("v") for _ in range(outputs)]
        node = helper.make_node(
            op, ["" if v is None else v.name for v in inputs], names, name=self.name("n"), **attributes
        )
        if not _is_as_specified(op, [v for v in inputs if v is not None], attributes):
            raise IndexError(op)
        return self.take([node], [v for v in (*inputs, *captured) if v is not None], names, exact=exact)

    def take(
        self, nodes: Sequence[onnx.NodeProto], read: Iterable[Value], names: Sequence[str], *, exact: bool = True
    ) -> list[Value]:
        """Add `nodes`, which make `names` of what they `read`; an IndexError where onnxruntime does not compute them.

        What is between them may be of any type.
        """
        given = {value.name: value for value in read}
        ports = [helper.make_tensor_value_info(v.name, _elem_type(v.dtype), None) for v in given.values()]
        graph = helper.make_graph(nodes, "step", ports, [onnx.ValueInfoProto(name=name) for name in names])
        results = _run(self._model(graph), [{n: v.arrays[i] for n, v in given.items()} for i in range(len(SIZES))])
        exact = exact and all(value.exact for value in given.values())
        made = [Value(name, arrays, exact) for name, arrays in zip(names, zip(*results, strict=True), strict=True)]
        if not all(map(_is_usable, made)):
            raise IndexError(nodes[-1].op_type)
        self.nodes += nodes
        self.values += made
        return made

    def model(self) -> onnx.ModelProto:
        """The graph; its outputs are the last value, some others, and mostly every value that nothing reads."""
        made = [value for value in self.values if not any(value.name == name for name, _, _ in self.inputs)]
        chosen = {made[-1].name: made[-1], **{v.name: v for v in self.draw.choices(made, k=self.draw.randint(0, 3))}}
        if self.draw.random() < 0.7:
            read = {name for node in self.nodes for name in node.input}
            chosen |= {value.name: value for value in made if value.name not in read}
        inputs = [helper.make_tensor_value_info(name, _elem_type(dtype), shape) for name, dtype, shape in self.inputs]
        outputs = [helper.make_tensor_value_info(v.name, _elem_type(v.dtype), [None] * v.rank) for v in chosen.values()]
        return self._model(helper.make_graph(self.nodes, "random", inputs, outputs, self.weights))

    def _model(self, graph: onnx.GraphProto) -> onnx.ModelProto:
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)


Step = Callable[[Program], object]
Steps = Sequence[tuple[Step, int]]
"""Steps and how often each is drawn."""


def draw_program(seed: int, steps: Steps) -> onnx.ModelProto | None:
    """The graph of a seed; None where no step could be taken.

    Args:
        seed: What decides everything.
        steps: Of which the graph is made.
    """
    draw = random.Random(seed)
    program = Program(draw, draw.choice([11, 13, 14, 17, 18, 20, 21, 23]))
    for index in range(draw.randint(1, 3)):
        dtype = draw.choice(["float32", "float32", "float32", *DTYPES])
        shape, name = draw.choice(_INPUTS), f"x{index}"
        arrays = tuple(program.numbers(dtype, sized(shape, sizes)) for sizes in SIZES)
        program.values.append(Value(name, arrays, exact=True))
        program.inputs.append((name, dtype, shape))
    given, wanted = len(program.values), draw.randint(3, 14)
    for _ in range(60):
        if len(program.values) - given >= wanted:
            break
        (step,) = draw.choices([step for step, _ in steps], [weight for _, weight in steps])
        try:
            step(program)
        except IndexError:  # nothing fits, or onnxruntime does not compute it
            continue
    return program.model() if len(program.values) > given else None


def feeds_of(model: onnx.ModelProto, seed: int) -> list[dict[str, Array]]:
    """Inputs under each of `MORE_SIZES`."""
    program = Program(random.Random(seed), 0)
    made = []
    for sizes in MORE_SIZES:
        feeds = {}
        for value in model.graph.input:
            type_ = value.type.tensor_type
            shape = [dim.dim_param or dim.dim_value for dim in type_.shape.dim]
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(type_.elem_type)).name
            feeds[value.name] = program.numbers(dtype, sized(shape, sizes))
        made.append(feeds)
    return made


def sized(shape: Sequence[str | int], sizes: dict[str, int]) -> tuple[int, ...]:
    """`shape` with numbers for its names."""
    return tuple(sizes[size] if isinstance(size, str) else size for size in shape)


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    """`model` in onnxruntime with its optimizer off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(model: onnx.ModelProto, feeds: Sequence[dict[str, Array]]) -> list[list[Array]]:
    try:
        session = session_of(model)
        return [session.run(None, given) for given in feeds]
    except Exception as error:  # onnxruntime's exceptions have no common base but this one
        raise IndexError("not computed") from error


def _is_as_specified(op: str, inputs: Sequence[Value], attributes: Mapping[str, Any]) -> bool:
    """Whether onnxruntime 1.31 does with these inputs what ONNX says.

    It joins an empty part whose other axes differ, and reads unwritten memory; it leaves a reduced axis of size 0 at 0
    where ONNX makes it 1; and it lets the slope of a PRelu raise the rank.
    """
    if op.startswith("Reduce"):
        return all(array.size for array in inputs[0].arrays)
    if op == "PRelu":
        return inputs[1].rank <= inputs[0].rank
    return op != "Concat" or _can_be_joined(inputs, attributes["axis"])


def _can_be_joined(parts: Sequence[Value], axis: int) -> bool:
    try:
        for arrays in zip(*(part.arrays for part in parts), strict=True):
            np.concatenate(arrays, axis)
    except ValueError:
        return False
    return True


def _elem_type(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _is_usable(value: Value) -> bool:
    arrays = value.arrays
    if not all(isinstance(array, np.ndarray) and array.dtype.name in DTYPES for array in arrays):
        return False
    if len({array.ndim for array in arrays}) > 1 or value.rank > _MAX_RANK:
        return False
    limit = {"f": 500.0 if value.dtype == "float16" else 1e5}.get(arrays[0].dtype.kind, 1e9)
    wide = [array.astype(np.float64) for array in arrays]
    return all(a.size <= _MAX_ELEMENTS and (np.isfinite(a).all() and np.all(np.abs(a) <= limit)) for a in wide)
