"""What a node does, as one label: its operator, the attributes that matter, the constants it reads.

```
LayerNormalization(epsilon=1e-12)    an attribute that matters and differs from the operator's default
Div(#1=2.828427)                     a small constant, and at which input; in the fewest digits that give it back
Mul(#1=float32[10|8]~0.71:0.2:-0.4)  a computed table, by a sketch: its shape, its rms, and two signed sums
```

Weights are left out: they change with every checkpoint. A constant counts as a weight if it has the name of one, is
where an operator takes its weights, or, for more than `EXACT` elements, has as many elements as one (a folded
transpose). Nodes that only compute shapes show no constants.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import is_constant, op_label
from pytest_modelcheck.hierarchy.folded_rows import escape
from pytest_modelcheck.hierarchy.shape_nodes import node_roles

EXACT = 4
"""Elements of a constant that is written out; a longer one is sketched."""

_LISTED = 12
"""Items of an attribute that are written out: the pads of three dimensions, and as many again."""

LARGEST = 2**20
"""Elements of the largest table that is read for its sketch; beyond that its shape is shown."""

_HUGE = 1e30
"""Masks are filled with the least number of their type: left out of sums, and counted."""

_HIDDEN = frozenset(
    {
        # how data is laid out, which the shapes say
        "allowzero",
        "axes",
        "axis",
        "dtype",
        "end",
        "keepdims",
        "layout",
        "num_outputs",
        "perm",
        "shape",
        "start",
        "storage_order",
        "transA",
        "transB",
        # what follows from the weights, and from the graphs inside
        "hidden_size",
        "num_scan_inputs",
        # what changes nothing that a model computes
        "momentum",
        "seed",
        "stash_type",
    }
)
"""Number attributes that do not say what is computed; every other one is shown, those of operators to come as well."""

_NOTHING = {"pads": "0", "output_padding": "0", "strides": "1", "dilations": "1"}
"""List attributes that do nothing if all their items are this."""

_ALONG_AXIS = frozenset(
    {
        "Softmax",
        "LogSoftmax",
        "Hardmax",
        "ArgMax",
        "ArgMin",
        "TopK",
        "CumSum",
        "LayerNormalization",
        "RMSNormalization",
        "LpNormalization",
        "MeanVarianceNormalization",
    }
)

_WEIGHTS: Mapping[str, frozenset[int]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), frozenset({1, 2})),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "InstanceNormalization"), frozenset({1, 2})),
    "BatchNormalization": frozenset({1, 2, 3, 4}),
    "RMSNormalization": frozenset({1}),
    "PRelu": frozenset({1}),
    "Gather": frozenset({0}),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), frozenset({1, 2, 3, 7})),
}
"""Operator -> the inputs at which it takes weights."""

_LAYOUT: Mapping[str, frozenset[int]] = {
    op: frozenset({1}) for op in ("Reshape", "Expand", "Squeeze", "Unsqueeze", "Split", "CenterCropPad", "AffineGrid")
} | {"ConstantOfShape": frozenset({0})}
"""Operator -> the inputs that say how data is laid out."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What is known of a model's weights.

    Attributes:
        names: Names of parameters, and of the statistics of norms.
        sizes: How many elements they have; None where no torch module is known: then every longer constant may be one.
    """

    names: frozenset[str] = frozenset()
    sizes: frozenset[int] | None = None

    @classmethod
    def of(cls, counts: Mapping[str, int] | None) -> Weights:
        """Name -> number of elements; None where nothing is known."""
        return cls() if counts is None else cls(frozenset(counts), frozenset(counts.values()))

    def hides(self, name: str | None, size: int) -> bool:
        """Whether a constant is a weight, or may be one."""
        return name in self.names or (size > EXACT and (self.sizes is None or size in self.sizes))


UNKNOWN = Weights()


def node_labels(model: ir.Model, weights: Weights = UNKNOWN) -> dict[ir.Node, str]:
    """The label of every node but Constants."""
    roles = node_roles(model)
    labels = {node: node_label(node, model, weights) for node in roles.compute}
    return labels | {node: node_label(node, model, weights, constants=False) for node in roles.plumbing}


def node_label(node: ir.Node, model: ir.Model, weights: Weights = UNKNOWN, *, constants: bool = True) -> str:
    """The label of one node; without its `constants` where they only compute shapes."""
    defaults = _defaults(node.op_type, node.domain, model.opset_imports.get(node.domain))
    shown = []
    for name, attribute in sorted({**_implied(node), **node.attributes}.items()):
        text = _attribute(node, name, attribute)
        if text and text != defaults.get(name):
            shown.append(f"{name}={text}")
    if constants:
        shown += [f"#{position}={text}" for position, text in _constants(node, weights)]
    label = f"{op_label(node)}({';'.join(shown)})" if shown else op_label(node)
    return escape(label, ",")


def _implied(node: ir.Node) -> Mapping[str, ir.Attr]:
    """What a Conv may leave out, because its weight has it: some versions of onnxscript write it, others do not."""
    weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose") and len(node.inputs) > 1 else None
    sizes = () if weight is None or weight.shape is None else weight.shape[2:]
    known = [size for size in sizes if isinstance(size, int)]
    if not known or node.domain or len(known) < len(sizes):
        return {}
    return {"kernel_shape": ir.AttrInt64s("kernel_shape", known)}


_DTYPES = {int(kind): kind for kind in ir.DataType}


def _attribute(node: ir.Node, name: str, attribute: ir.Attr) -> str:
    """The value as text; empty for one that is not shown."""
    if attribute.is_ref():
        return ""
    value: Any = attribute.value
    match attribute.type:
        case ir.AttributeType.STRING:
            return attribute.as_string()
        case ir.AttributeType.STRINGS:
            return "|".join(attribute.as_strings())
        case ir.AttributeType.TENSOR if node.op_type == "ConstantOfShape":
            array = value.numpy()
            return _exact(array) if array.any() else ""
        case ir.AttributeType.TENSOR:
            return _some(value.numpy())
        case ir.AttributeType.INT if name == "to":
            kind = _DTYPES.get(value)
            if kind is None:
                return str(value)
            return kind.name.lower() if kind.is_floating_point() and kind != ir.DataType.FLOAT else ""
    if name in _HIDDEN and not (name in ("axis", "axes") and _goes_along_axis(node)):
        return ""
    match attribute.type:
        case ir.AttributeType.INT:
            return str(value)
        case ir.AttributeType.FLOAT:
            return _number(np.float32(value))
        case ir.AttributeType.INTS if {str(item) for item in value} == {_NOTHING.get(name)}:
            return ""
        case ir.AttributeType.INTS:
            return _some(np.asarray(value, np.int64))
        case ir.AttributeType.FLOATS:
            return _some(np.asarray(value, np.float32))
    return ""


def _some(array: np.ndarray[Any, Any]) -> str:
    """Kernel sizes and pads as they are; the thousands of thresholds in a tree ensemble by their sketch."""
    return _exact(array) if array.size <= _LISTED else sketch(array)


def _goes_along_axis(node: ir.Node) -> bool:
    return node.op_type in _ALONG_AXIS or node.op_type.startswith("Reduce") or bool(node.domain)


@functools.cache
def _defaults(op_type: str, domain: str, opset: int | None) -> Mapping[str, str]:
    """Attribute name -> the operator's default as text; empty for an operator that onnx does not know."""
    if opset is None or not onnx.defs.has(op_type, domain):
        return {}
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:  # known to onnx, but not in this version of the opset
        return {}
    node = ir.Node(domain, op_type, [])
    return {
        name: _attribute(node, name, ir.serde.deserialize_attribute(attribute.default_value))
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name
    }


def _constants(node: ir.Node, weights: Weights) -> Iterator[tuple[int, str]]:
    hidden: Collection[int] = ()
    if not node.domain:
        hidden = _WEIGHTS.get(node.op_type, frozenset()) | _LAYOUT.get(node.op_type, frozenset())
    for position, value in enumerate(node.inputs):
        if value is None or position in hidden:
            continue
        size, read = _constant(value)
        if read is None or size == 0 or weights.hides(value.name, size):
            continue
        if node.op_type == "MatMul" and size > EXACT:
            continue  # a folded weight, or the table of a linear map
        if size > LARGEST:
            yield position, f"{size}"
            continue
        array = read()
        if array.dtype.kind in "OUS":
            continue
        yield position, _exact(array) if array.size <= EXACT else sketch(array)


def _constant(value: ir.Value) -> tuple[int, Any]:
    """Number of elements and how to read them; (0, None) for what is computed."""
    tensor = value.const_value if value.is_initializer() else None
    producer = value.producer()
    if tensor is None and producer is not None and is_constant(producer):
        attribute = next(iter(producer.attributes.values()), None)
        if attribute is None or attribute.is_ref():
            return 0, None
        held: Any = attribute.value
        if attribute.type is ir.AttributeType.TENSOR:
            tensor = held
        elif attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
            return np.size(held), lambda: np.asarray(held, np.float32)
        elif attribute.type in (ir.AttributeType.INT, ir.AttributeType.INTS):
            return np.size(held), lambda: np.asarray(held, np.int64)
    if tensor is None:
        return 0, None
    return tensor.size, tensor.numpy


def _exact(array: np.ndarray[Any, Any]) -> str:
    return "|".join(_number(item) for item in array.reshape(-1))


def _number(value: Any) -> str:
    """The fewest digits that give the value back in its own type; ``max`` for the end of a slice that has none."""
    if isinstance(value, np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, np.integer):
        return "max" if value >= 2**31 - 1 else "-max" if value <= -(2**31) else str(value)
    return str(value).removesuffix(".0")


def sketch(array: np.ndarray[Any, Any]) -> str:
    """Dtype and shape; of floats the rms and two signed sums in units of it, of all else a checksum."""
    shape = f"{array.dtype.name}[{'|'.join(map(str, array.shape))}]"
    if array.dtype.kind not in "fV":
        return f"{shape}:{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"
    flat = array.astype(np.float64).reshape(-1)
    huge = ~(np.abs(flat) < _HUGE)
    flat = np.where(huge, 0.0, flat)
    rms = float(np.sqrt(np.mean(flat * flat)))
    sums = [float(flat @ signs(flat.size, seed) / np.sqrt(flat.size)) / (rms or 1.0) for seed in (1, 2)]
    figures = ":".join(f"{figure + 0.0:.4g}" for figure in (rms, *sums))
    where = zlib.crc32(np.packbits(huge).tobytes()) if huge.any() else 0
    return f"{shape}~{figures}" + (f"!{int(huge.sum())}.{where:08x}" if where else "")


@functools.lru_cache(maxsize=64)
def signs(size: int, seed: int) -> np.ndarray[Any, Any]:
    """A fixed row of +1 and -1, the same on every machine: numpy guarantees the streams of its bit generators."""
    raw = np.random.PCG64(size * 2 + seed).random_raw(size)
    return np.where(raw & np.uint64(1), 1.0, -1.0)
