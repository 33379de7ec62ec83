"""Running passes over a model, and the record of what each one really did.

A pass is one of ours (`passes.Pass`), any `onnx_ir.passes.PassBase`, or any function from `onnx.ModelProto` to
`onnx.ModelProto`. One file each for running (running.py), what a run leaves behind (records.py), and names (naming.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import PassFailedError
from pytest_modelcheck.graph.files import load_model, save_model
from pytest_modelcheck.graph.from_proto import model_from_proto
from pytest_modelcheck.passes import Target
from pytest_modelcheck.passes.check_tflite_ops import CheckTfliteOps
from pytest_modelcheck.pipeline.pass_names import AnyPass, as_passes, known_pass_names, pass_name, resolve_passes
from pytest_modelcheck.pipeline.prepare import checked_copy, prepare
from pytest_modelcheck.pipeline.records import PassRecord, PassStatus
from pytest_modelcheck.pipeline.run import (
    check_target,
    run_each_alone,
    run_one_by_one,
    run_pass,
    run_pipeline,
    run_prepared,
)
from pytest_modelcheck.result import Refused, listed

_LISTED = 10
"""So many nodes are named in an error."""

__all__ = [
    "AnyPass",
    "PassRecord",
    "PassStatus",
    "as_passes",
    "check_target",
    "checked_copy",
    "known_pass_names",
    "optimize",
    "pass_name",
    "prepare",
    "resolve_passes",
    "run_each_alone",
    "run_one_by_one",
    "run_pass",
    "run_pipeline",
    "run_prepared",
]


@overload
def optimize(
    model: onnx.ModelProto, *, passes: Sequence[AnyPass | str] | None = ..., target: Target = ...
) -> onnx.ModelProto: ...
@overload
def optimize(model: ir.Model, *, passes: Sequence[AnyPass | str] | None = ..., target: Target = ...) -> ir.Model: ...
@overload
def optimize(
    model: str | Path,
    *,
    passes: Sequence[AnyPass | str] | None = ...,
    target: Target = ...,
    output: str | Path | None = ...,
) -> Path: ...
def optimize(
    model: onnx.ModelProto | ir.Model | str | Path,
    *,
    passes: Sequence[AnyPass | str] | None = None,
    target: Target = "portable",
    output: str | Path | None = None,
) -> onnx.ModelProto | ir.Model | Path:
    """Optimize a model and give back the same kind, as a new object (for a path: the path written).

    Types and shapes of intermediate values are written where the model has some.

    Args:
        model: `onnx.ModelProto`, `onnx_ir.Model`, or the path of an .onnx file.
        passes: Passes, or their names; default: `passes.passes_for(target)`.
        target: ``portable``, ``opset23``, ``onnxruntime`` or ``tflite``.
        output: For a path: where to write. Default: ``<stem>.optimized.onnx`` beside it.

    Raises:
        InvalidModelError: if `model` is not a valid model.
        PassFailedError: if a pass raises or leaves an invalid model, or if nodes are left that the target does not
            have; nothing is written.
    """
    if isinstance(model, ir.Model):
        return _optimized(model, passes, target)
    if isinstance(model, onnx.ModelProto):
        return ir.to_proto(_optimized(model_from_proto(model), passes, target))
    path = Path(model)
    destination = Path(output) if output else path.with_name(f"{path.stem}.optimized.onnx")
    save_model(_optimized(load_model(path), passes, target), destination, source=path)
    return destination


def _optimized(model: ir.Model, passes: Sequence[AnyPass | str] | None, target: Target) -> ir.Model:
    optimized, records = run_pipeline(model, passes, target)
    for record in records:
        if record.status is PassStatus.ERROR:
            raise PassFailedError(f"{record.name}: {record.error}")
        if record.name == CheckTfliteOps.name and record.refusals:
            raise PassFailedError(_not_convertible(record.refusals))
    if not any(_is_described(value) for value in _inner_values(model)):
        for value in _inner_values(optimized):
            value.type = value.shape = None
    return optimized


def _inner_values(model: ir.Model) -> Iterator[ir.Value]:
    return (value for node in model.graph.all_nodes() for value in node.outputs if not value.is_graph_output())


def _is_described(value: ir.Value) -> bool:
    return value.type is not None or value.shape is not None


def _not_convertible(refusals: tuple[Refused, ...]) -> str:
    nodes = [f"node {refused.node!r}: {refused.reason}" for refused in refusals]
    return f"the model cannot be converted to TensorFlow Lite: {listed(nodes, _LISTED, '; ')}"
