"""onnx's own reference evaluator: a slow second opinion that shares no code with onnxruntime."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import Inputs, Run, Stage, flat_arrays
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.runtimes import SessionError

SMALL_NODES = 500
SMALL_BYTES = 32 * 1024 * 1024
"""A model with more nodes or weights than this is too slow for the evaluator to be asked."""


def is_small(model: ir.Model) -> bool:
    """Whether the evaluator's opinion comes within seconds."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return (
        sum(1 for _ in all_nodes(model)) <= SMALL_NODES
        and sum(tensor.nbytes for tensor in tensors if tensor is not None) <= SMALL_BYTES
    )


def evaluator_stage(
    name: str, model: onnx.ModelProto | ir.Model | str | Path, *, against: str | None = None, step: str = ""
) -> Stage:
    """A model in onnx's reference evaluator.

    Raises (when it is opened or run):
        SessionError: if the evaluator has no implementation of an operator, or fails.
    """

    @contextlib.contextmanager
    def opened() -> Iterator[Run]:
        loaded = ir.load(model) if isinstance(model, str | Path) else model
        proto = loaded if isinstance(loaded, onnx.ModelProto) else ir.to_proto(loaded)
        try:
            evaluator = ReferenceEvaluator(proto)
        except Exception as error:  # the evaluator's errors share no base class but Exception
            raise SessionError(f"{name}: onnx's reference evaluator cannot load the model: {error}") from error
        yield lambda inputs: _run(name, evaluator, inputs)

    return Stage(name=name, open=opened, against=against, step=step)


def _run(name: str, evaluator: ReferenceEvaluator, inputs: Inputs) -> Mapping[str, Array]:
    arrays = flat_arrays(inputs)
    feeds = {port: arrays[port] for port in evaluator.input_names if port in arrays}
    try:
        values = evaluator.run(None, feeds)
    except Exception as error:  # as above
        text = " ".join(str(error).split())
        raise SessionError(f"{name}: onnx's reference evaluator failed: {type(error).__name__}: {text}") from error
    return {output: np.asarray(value) for output, value in zip(evaluator.output_names, values, strict=True)}
