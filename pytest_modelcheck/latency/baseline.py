"""A graph that is kept to be timed against later ones: the nodes as they were, the weights as names and hashes.

A later run gives the graph weights again: today's, where a weight has the same content or at least the same name and
shape, else random ones. Times are then compared side by side, on whatever machine runs; no millisecond is kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
import textwrap
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.graph.files import save_model
from pytest_modelcheck.graph.metadata import OWNER_KEY

SMALL_BYTES = 256
"""Weights of floats up to this size stay in the graph: scales and epsilons that its operators are made with."""

_WEIGHTS = "pytest_modelcheck.weights"  # in the model's metadata: name -> hash of a weight that was left out
_GRAPH = "graph: "
_ONNX = "ai.onnx"


class BaselineError(ModelCheckError):
    """A locked graph that cannot be read, or cannot be timed against today's."""


@dataclass(frozen=True, slots=True)
class BaselineGraph:
    """A graph to lock.

    Attributes:
        model: With its weights. Not to be edited.
        label: What made it, e.g. ``"dynamo, target portable"``.
    """

    model: ir.Model
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredWeights:
    """Where the weights of a locked graph came from: how many of each.

    Attributes:
        equal: Today's weight of equal content.
        named: Today's weight of the same name, shape and dtype, whose content has changed.
        seeded: Random ones.
    """

    equal: int
    named: int
    seeded: int

    @property
    def all_equal(self) -> bool:
        """Whether every weight is today's."""
        return not self.named and not self.seeded

    def __str__(self) -> str:
        total = self.equal + self.named + self.seeded
        parts = [f"{self.equal} of {total} weights are today's"]
        parts += [f"{self.named} are today's by name, with other content"] if self.named else []
        parts += [f"{self.seeded} are random"] if self.seeded else []
        return ", ".join(parts)


def render_baseline(baseline: BaselineGraph) -> str:
    """Rows for people (opset, inputs, outputs, operators), then the graph, compressed: 18 kB for a BERT-base."""
    model, hashes = without_weights(baseline.model)
    for node in _all_nodes(model):  # the owner stays: a slower graph is reported by its modules
        owner = node.metadata_props.get(OWNER_KEY)
        node.metadata_props.clear()
        node.doc_string = None
        if owner is not None:
            node.metadata_props[OWNER_KEY] = owner
    model.metadata_props.clear()
    model.metadata_props[_WEIGHTS] = json.dumps(hashes, sort_keys=True)
    packed = zlib.compress(ir.to_proto(model).SerializeToString(deterministic=True), 9)
    rows = [
        f"made by: {baseline.label}",
        f"opset: {', '.join(f'{domain or _ONNX} {version}' for domain, version in model.opset_imports.items())}",
        *(f"input: {_port(value)}" for value in model.graph.inputs),
        *(f"output: {_port(value)}" for value in model.graph.outputs),
        f"nodes: {', '.join(f'{op} {count}' for op, count in sorted(op_counts(model).items()))}",
        f"weights: {len(hashes)}, not kept",
        "",
        _GRAPH + f"{len(packed)} bytes",
    ]
    return "\n".join([*rows, *textwrap.wrap(base64.b85encode(packed).decode(), 120)]) + "\n"


def read_baseline(text: str) -> ir.Model:
    """The graph of a text that `render_baseline` made; its weights are stubs.

    Raises:
        BaselineError: if the text is not one.
    """
    _, found, packed = text.partition("\n" + _GRAPH)
    if not found:
        raise BaselineError("the locked baseline holds no graph; record it again with --snapshot-update")
    try:
        content = zlib.decompress(base64.b85decode("".join(packed.split("\n")[1:])))
        model: ir.Model = ir.from_proto(onnx.ModelProto.FromString(content))
    except (ValueError, zlib.error, google.protobuf.message.DecodeError) as error:
        raise BaselineError(f"the locked baseline cannot be read ({error}); record it again") from error
    return model


def same_graph(text: str, today: BaselineGraph) -> bool:
    """Whether today's graph is the one of `text`, node for node, whatever its larger weights of floats hold.

    Raises:
        BaselineError: if `text` holds no graph.
    """
    return _nodes_as_bytes(text) == _nodes_as_bytes(render_baseline(today))


def _nodes_as_bytes(text: str) -> bytes:
    model = read_baseline(text)
    model.metadata_props.clear()  # the hashes of the weights
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


def without_weights(model: ir.Model) -> tuple[ir.Model, dict[str, str]]:
    """A copy without its larger weights of floats, and the hash of each that was left out."""
    copy = model.clone()
    hashes: dict[str, str] = {}
    for name, value in copy.graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            continue
        if tensor.nbytes <= SMALL_BYTES or not tensor.dtype.is_floating_point():
            if isinstance(tensor, ir.ExternalTensor):  # the text holds it, and no name of a file that will be gone
                value.const_value = ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=name)
            continue
        hashes[name] = content_hash(tensor)
        shape = ir.Shape(tensor.shape.numpy())
        value.const_value = ir.ExternalTensor("weights", 0, tensor.nbytes, tensor.dtype, shape=shape, name=name)
    return copy, hashes


def with_weights(baseline: ir.Model, today: ir.Model) -> tuple[ir.Model, RestoredWeights]:
    """`baseline` with weights: of `today` where they are the same, else random ones of the same shape.

    Args:
        baseline: As `read_baseline` gives it.
        today: The graph of this run, with its weights.
    """
    hashes: dict[str, str] = json.loads(baseline.metadata_props.get(_WEIGHTS, "{}"))
    wanted = {(tuple(value.const_value.shape), value.const_value.dtype) for value in _stubs(baseline, hashes).values()}
    by_name = {name: value.const_value for name, value in today.graph.initializers.items() if value.const_value}
    # Only what could be meant is hashed: reading 440 MB of weights takes half a second.
    by_hash = {content_hash(t): t for t in by_name.values() if (tuple(t.shape), t.dtype) in wanted}
    counts: Counter[str] = Counter()
    restored = baseline.clone()
    for name, value in _stubs(restored, hashes).items():
        stub, named = value.const_value, by_name.get(name)
        tensor: Any = by_hash.get(hashes[name])
        if tensor is not None:
            counts["equal"] += 1
        elif named is not None and (named.shape, named.dtype) == (stub.shape, stub.dtype):
            counts["named"] += 1
            tensor = named
        else:
            counts["seeded"] += 1
            tensor = _random(stub, name)
        value.const_value = tensor
    return restored, RestoredWeights(equal=counts["equal"], named=counts["named"], seeded=counts["seeded"])


@dataclass(frozen=True, slots=True)
class LockedGraph:
    """A locked graph that can be opened beside today's.

    Attributes:
        path: A file with weights.
        model: The graph itself.
        feeds: Today's example, as it takes them.
        notes: What had to be mapped, and what differs besides the nodes.
    """

    path: Path
    model: ir.Model
    feeds: dict[str, Any]
    notes: tuple[str, ...]


@contextmanager
def locked_graph(text: str, today: ir.Model, feeds: Mapping[str, Any]) -> Iterator[LockedGraph]:
    """The locked graph of `text` with weights, in a file for as long as the block runs.

    Raises:
        BaselineError: if it cannot be read, or does not take today's inputs.
    """
    stubs = read_baseline(text)
    mapped, renamed = map_inputs(stubs, today, feeds)
    model, weights = with_weights(stubs, today)
    notes = (*version_note(stubs, today), *renamed, *(() if weights.all_equal else (f"locked graph: {weights}",)))
    with tempfile.TemporaryDirectory(prefix="modelcheck-baseline-") as folder:
        path = Path(folder) / "baseline.onnx"
        save_model(model, path)
        yield LockedGraph(path, stubs, mapped, notes)


def content_hash(tensor: ir.TensorProtocol) -> str:
    """Of dtype, shape and bytes; equal tensors have equal ones, whatever their names."""
    digest = hashlib.blake2b(f"{tensor.dtype} {tensor.shape}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(tensor.numpy()).view(np.uint8).data)
    return digest.hexdigest()


def map_inputs(baseline: ir.Model, today: ir.Model, feeds: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The feeds of today's graph as the locked one takes them, and what had to be mapped: by name, else in order.

    Args:
        feeds: For today's graph.

    Raises:
        BaselineError: if the inputs cannot be the same ones; the message shows both lists.
    """
    old = {name: value for name, value in _inputs(baseline).items() if name not in baseline.graph.initializers}
    new = {name: value for name, value in _inputs(today).items() if name in feeds}
    pairs = [(name, name) for name in old] if set(old) == set(new) else list(zip(old, new, strict=False))
    if len(old) != len(new) or not all(_fits(old[was], new[now], feeds[now]) for was, now in pairs):
        raise BaselineError(
            f"the locked graph takes {_listed(old)}; today's takes {_listed(new)}: they cannot be timed side by side. "
            f"Record the baseline again with --snapshot-update"
        )
    notes = tuple(f"the locked graph's input {was!r} is fed what {now!r} is fed" for was, now in pairs if was != now)
    return {was: feeds[now] for was, now in pairs}, notes


def version_note(baseline: ir.Model, today: ir.Model) -> tuple[str, ...]:
    """Whether the locked graph is of another opset: it runs all the same, and the reader should know."""
    was, now = baseline.opset_imports.get(""), today.opset_imports.get("")
    return () if was == now else (f"the locked graph is of opset {was}, today's of {now}",)


def _inputs(model: ir.Model) -> dict[str, ir.Value]:
    return {str(value.name): value for value in model.graph.inputs}


def _fits(old: ir.Value, new: ir.Value, value: Any) -> bool:
    given = tuple(np.shape(value))
    if old.dtype != new.dtype or (old.shape is not None and len(old.shape) != len(given)):
        return False
    sizes = old.shape or ()
    return all(not isinstance(size, int) or size == has for size, has in zip(sizes, given, strict=False))


def _listed(inputs: Mapping[str, ir.Value]) -> str:
    return ", ".join(map(_port, inputs.values())) or "no inputs"


def _stubs(model: ir.Model, hashes: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, value in model.graph.initializers.items() if name in hashes}


def _random(stub: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """N(0, 0.02): what weights are drawn from; seeded by the name, so that every run times the same."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    drawn = np.random.default_rng(seed).standard_normal(stub.shape.numpy(), dtype=np.float32) * np.float32(0.02)
    return ir.tensor(drawn.astype(stub.dtype.numpy()), dtype=stub.dtype, name=name)


def _all_nodes(model: ir.Model) -> list[ir.Node]:
    functions = [node for function in model.functions.values() for node in function.all_nodes()]
    return [*model.graph.all_nodes(), *functions]


def _port(value: ir.Value) -> str:
    return f"{value.name} {value.dtype} {value.shape}"
