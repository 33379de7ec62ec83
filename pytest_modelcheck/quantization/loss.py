"""Running a float graph and the quantized one on equal inputs."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.accuracy.metrics import Array, is_float, top1_agreement
from pytest_modelcheck.accuracy.places import read_by
from pytest_modelcheck.accuracy.probe import GraphProbe
from pytest_modelcheck.accuracy.quantized import open_exactly
from pytest_modelcheck.graph.counts import all_nodes, op_label
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.quantization.noise import Noise
from pytest_modelcheck.runtimes import How, Quantizer, open_session

LOOK_AT = 64
"""Inner values per session."""

_HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN", "Attention"})
"""Operators that are quantized for their time or their weights."""

_IN_INTEGERS = (
    "MatMulInteger",
    "ConvInteger",
    "QLinearMatMul",
    "QLinearConv",
    "QGemm",
    "MatMulNBits",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
)
"""Parts of the names of what they become, where it is another operator."""

_SINGLE = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """A value inside both graphs.

    Attributes:
        value: Its name.
        node: Of the float graph, that makes it.
        before: Decibels of the worst value that the node reads; inf where nothing was lost before.
        after: Decibels of its own.
    """

    value: str
    node: ir.Node
    before: float
    after: float

    @property
    def share(self) -> float:
        """Noise to signal that the node added."""
        return _ratio(self.after) - _ratio(self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The two graphs compared.

    Attributes:
        outputs: Output -> signal and noise over all seeds; floats alone.
        integers: Output of whole numbers -> share of equal elements.
        top1: Output -> share of rows (last axis) whose largest element is the same.
        bytes_before, bytes_after: Of the two files, weights beside them included.
        in_float: Operators with weights that are computed in float32 still, with their count.
        heavy: Count of all operators with weights.
        layers: Inner values that both graphs have, those whose node added most noise first.
    """

    outputs: Mapping[str, Noise]
    integers: Mapping[str, float]
    top1: Mapping[str, float]
    bytes_before: int
    bytes_after: int
    in_float: Mapping[str, int]
    heavy: int
    layers: tuple[LayerLoss, ...]

    @property
    def changed(self) -> bool:
        """Whether anything was quantized at all: an operator, or else what it gives."""
        exact = all(not noise.noise for noise in self.outputs.values()) and set(self.integers.values()) <= {1.0}
        return not exact or sum(self.in_float.values()) < self.heavy

    @property
    def size(self) -> float:
        """Bytes after in percent of those before."""
        return 100 * self.bytes_after / self.bytes_before


@dataclass(slots=True)
class _Seen:
    outputs: dict[str, Noise] = field(default_factory=dict)
    integers: dict[str, list[float]] = field(default_factory=dict)
    top1: dict[str, list[float]] = field(default_factory=dict)

    def see(self, name: str, reference: Array, found: Array) -> None:
        if reference.shape != found.shape:
            found_shape, shape = list(found.shape), list(reference.shape)
            raise ValueError(f"output {name!r} has the shape {found_shape}, not {shape}: it is another model")
        if not is_float(reference):
            self.integers.setdefault(name, []).append(float((reference == found).mean()) if reference.size else 1.0)
            return
        self.outputs.setdefault(name, Noise()).see(reference, found)
        if reference.ndim and reference.shape[-1] > 1 and reference.size:
            self.top1.setdefault(name, []).append(top1_agreement(reference, found))


def compare_quantized(
    source: Path,
    model: ir.Model,
    quantizer: Quantizer,
    *,
    calibration: Sequence[Mapping[str, Array]],
    feeds: Sequence[Mapping[str, Array]],
    how: How,
    inside: Callable[[Mapping[str, Noise]], bool],
) -> Quantized:
    """Quantize a file and run both.

    Args:
        source: The float file.
        model: The same as a graph, with owners.
        quantizer: Writes the other file.
        calibration: Inputs that it may look at.
        feeds: Others, on which the two are compared.
        how: How both are run; sums of int8 products are exact, unless its `config` says something else.
        inside: Whether the layers are compared as well, once the outputs are known.

    Raises:
        SessionError: if one of the two cannot be loaded or run.
        ValueError: if it wrote no file, or that of a model with other outputs.
        Exception: whatever the quantizer raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "quantized.onnx")
        quantizer(source, target, calibration)
        if not target.is_file():
            raise ValueError("it wrote no file")
        before, after = open_session(source, how, name="float"), open_exactly(target, how, name="quantized")
        if missing := {port.name for port in before.outputs} - {port.name for port in after.outputs}:
            raise ValueError(f"outputs {', '.join(map(repr, sorted(missing)))} are gone: it is another model")
        seen = _Seen()
        for fed in feeds:
            found = after.run(fed)
            for name, array in before.run(fed).items():
                seen.see(name, array, found[name])
        del before, after
        other = ir.load(target)
        other.graph.sort()  # onnxruntime's float16 tool puts its casts at the end
        in_float, heavy = _left_in_float(other)
        return Quantized(
            outputs=seen.outputs,
            integers={name: min(shares) for name, shares in seen.integers.items()},
            top1={name: sum(shares) / len(shares) for name, shares in seen.top1.items()},
            bytes_before=_bytes(source),
            bytes_after=_bytes(target),
            in_float=in_float,
            heavy=heavy,
            layers=_layers(model, other, feeds[0], how) if inside(seen.outputs) else (),
        )


def _bytes(file: Path) -> int:
    model = ir.load(file)
    beside = {
        file.parent / value.const_value.location
        for graph in (model.graph, *model.graph.subgraphs())
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    return file.stat().st_size + sum(path.stat().st_size for path in beside)


def _left_in_float(model: ir.Model) -> tuple[dict[str, int], int]:
    """Operators that read float32 which no DequantizeLinear made; and how many there could be."""
    infer_shapes(model)
    found: dict[str, int] = {}
    heavy = 0
    for node in all_nodes(model):
        if node.op_type not in _HEAVY:
            heavy += any(part in node.op_type for part in _IN_INTEGERS)
            continue
        heavy += 1
        if any(_is_single(value) for value in node.inputs[:2] if value is not None):
            found[op_label(node)] = found.get(op_label(node), 0) + 1
    return found, heavy


def _is_single(value: ir.Value) -> bool:
    producer = value.producer()
    quantized = producer is not None and producer.op_type == "DequantizeLinear"
    return not quantized and value.dtype in _SINGLE


def _layers(model: ir.Model, other: ir.Model, feeds: Mapping[str, Array], how: How) -> tuple[LayerLoss, ...]:
    """What each node lost, of the values that both graphs know by the same name."""
    left, right = GraphProbe(model, feeds, how), GraphProbe(other, feeds, how)
    made = {value.name: node for node in model.graph for value in node.outputs if value.name}
    read_as = _dequantized(other)
    names = [name for name in made if name in left.names and read_as.get(name, name) in right.names]
    decibels: dict[str, float] = {}
    for start in range(0, len(names), LOOK_AT):
        part = names[start : start + LOOK_AT]
        one, two = left.look(part), right.look([read_as.get(name, name) for name in part])
        for name in part:
            found = two[read_as.get(name, name)]
            if is_float(one[name]) and one[name].shape == found.shape:
                noise = Noise()
                noise.see(one[name], found)
                decibels[name] = noise.decibels
    losses = []
    for name, after in decibels.items():
        node = made[name]
        before = [decibels.get(value.name or "", math.inf) for value in read_by(node)]
        losses.append(
            LayerLoss(name, node, min((one for one in before if not math.isnan(one)), default=math.inf), after)
        )
    losses = [loss for loss in losses if not math.isnan(loss.after)]
    return tuple(sorted(losses, key=lambda loss: loss.share, reverse=True))


def _dequantized(model: ir.Model) -> dict[str, str]:
    """Value -> what its readers read, where it goes through QuantizeLinear and DequantizeLinear.

    onnxruntime's tool leaves out a Relu whose range the quantization clips: its value exists behind the two alone.
    """
    found: dict[str, str] = {}
    for node in model.graph:
        back = [use.node for use in node.outputs[0].uses()] if node.op_type == "QuantizeLinear" else []
        value = node.inputs[0] if back else None
        if value is not None and value.name and back[0].op_type == "DequantizeLinear" and back[0].outputs[0].name:
            found[value.name] = back[0].outputs[0].name
    return found


def _ratio(decibels: float) -> float:
    return 10 ** (-decibels / 10)
