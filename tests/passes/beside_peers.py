"""One random graph through our pipeline and through the peers: who leaves fewer nodes, and is right."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.pipeline import optimize
from tests.passes.fuzzing import agree
from tests.passes.random_programs import Array, Steps, draw_program, feeds_of, session_of
from tests.passes.random_steps import STEPS

Peer = Callable[[onnx.ModelProto], onnx.ModelProto]


def _onnxsim(model: onnx.ModelProto) -> onnx.ModelProto:
    made: onnx.ModelProto = importlib.import_module("onnxsim").simplify(model)[0]
    return made


def _onnxslim(model: onnx.ModelProto) -> onnx.ModelProto:
    made: onnx.ModelProto = importlib.import_module("onnxslim").slim(model)
    return made


PEERS: dict[str, Peer] = {"onnxsim": _onnxsim, "onnxslim": _onnxslim}


def behind(seed: int, steps: Steps = STEPS) -> tuple[int, dict[str, int]] | None:
    """Our node count for the graph of `seed`, and that of each right peer with fewer.

    Returns:
        None where the seed draws no graph that onnxruntime runs.
    """
    model = draw_program(seed, steps)
    if model is None:
        return None
    ours = _count(optimize(model))
    fewer: dict[str, int] = {}
    for name, peer in PEERS.items():
        try:
            made = peer(_copy(model))
        except Exception:  # whatever a peer raises, it leaves no graph
            continue
        if _count(made) < ours and _is_right(model, made, seed):
            fewer[name] = _count(made)
    return ours, fewer


def _is_right(model: onnx.ModelProto, made: onnx.ModelProto, seed: int) -> bool:
    try:
        before, after = session_of(model), session_of(made)
    except Exception:  # what a peer leaves may not load
        return False
    ran = 0
    for feeds in _with_special(feeds_of(model, seed)):
        try:
            expected = before.run(None, feeds)
        except Exception:  # not every graph takes all sizes
            continue
        try:
            found = after.run(None, feeds)
        except Exception:  # the graph of the peer does not run where the exported one does
            return False
        if not all(map(agree, expected, found)):
            return False
        ran += 1
    return ran > 0


def _with_special(drawn: list[dict[str, Array]]) -> Iterator[dict[str, Array]]:
    """All feeds, and each with floats that are infinite or no numbers: a Softmax over one element is not 1 then."""
    yield from drawn
    for feeds, special in itertools.product(drawn, (np.inf, np.nan)):
        yield {
            name: np.full_like(array, special) if array.dtype.kind == "f" else array for name, array in feeds.items()
        }


def _count(model: onnx.ModelProto) -> int:
    return count_nodes(ir.from_proto(model))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
