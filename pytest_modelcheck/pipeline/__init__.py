"""Running passes over a model, and the record of what each one really did.

A pass is one of ours (`passes.Pass`), any `onnx_ir.passes.PassBase`, or any function from `onnx.ModelProto` to
`onnx.ModelProto`. One file each for running with a check after every pass (run.py), with a single one (in_place.py),
and with every result run (verified.py), for what a run leaves behind (records.py), and for names (pass_names.py).
"""

from __future__ import annotations

import pytest_modelcheck.late_sympy  # noqa: F401 - before onnx_ir

# isort: split

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack, overload

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import PassFailedError
from pytest_modelcheck.graph.counts import count_nodes, nodes_within
from pytest_modelcheck.graph.files import load_model, save_model
from pytest_modelcheck.graph.from_proto import model_from_proto
from pytest_modelcheck.graph.validity import check_model
from pytest_modelcheck.graph.value_infos import to_proto
from pytest_modelcheck.passes import Pass, Target
from pytest_modelcheck.passes.check_tflite_ops import CheckTfliteOps
from pytest_modelcheck.pipeline.freezing import freezing
from pytest_modelcheck.pipeline.in_place import run_in_place
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
"""So many nodes are named in a warning."""


class ConversionWarning(UserWarning):
    """A graph that was made for a converter holds nodes that it may refuse."""


class WrongRewriteWarning(UserWarning):
    """A rewrite changed what the model computes, and was undone."""


__all__ = [
    "AnyPass",
    "ConversionWarning",
    "OptimizedFile",
    "PassRecord",
    "PassStatus",
    "WrongRewriteWarning",
    "as_passes",
    "check_target",
    "checked_copy",
    "known_pass_names",
    "optimize",
    "optimize_file",
    "pass_name",
    "prepare",
    "resolve_passes",
    "run_each_alone",
    "run_one_by_one",
    "run_pass",
    "run_pipeline",
    "run_prepared",
]


class Options(TypedDict, total=False):
    """What `optimize` takes beside the model."""

    passes: Sequence[AnyPass | str] | None
    target: Target
    sizes: Mapping[str, int] | None
    verify: bool


@overload
def optimize(model: onnx.ModelProto, **options: Unpack[Options]) -> onnx.ModelProto: ...
@overload
def optimize(model: ir.Model, **options: Unpack[Options]) -> ir.Model: ...
@overload
def optimize(model: str | Path, *, output: str | Path | None = ..., **options: Unpack[Options]) -> Path: ...
def optimize(
    model: onnx.ModelProto | ir.Model | str | Path,
    *,
    passes: Sequence[AnyPass | str] | None = None,
    target: Target = "portable",
    sizes: Mapping[str, int] | None = None,
    output: str | Path | None = None,
    verify: bool = False,
) -> onnx.ModelProto | ir.Model | Path:
    """Optimize a model and give back the same kind, as a new object (for a path: the path written).

    Types and shapes of intermediate values are written where the model has some.

    Args:
        model: `onnx.ModelProto`, `onnx_ir.Model`, or the path of an .onnx file.
        passes: Passes, or their names; default: `passes.passes_for(target)`.
        target: ``portable``, ``opset23``, ``onnxruntime`` or ``tflite``.
        sizes: Axis name -> size that it is frozen to, e.g. ``{"batch": 1, "sequence": 128}``; all dynamic axes of the
            inputs, but for ``tflite``, where those that are left out become 1.
        output: For a path: where to write. Default: ``<stem>.optimized.onnx`` beside it.
        verify: Run the model before and after every pass on drawn inputs; a rewrite that changes an output, or a
            value that it stands for, is undone, and named by a `WrongRewriteWarning`. Needs onnxruntime.

    Raises:
        InvalidModelError: if `model` is not a valid model.
        OptionError: for a target, pass or axis that does not exist, an axis without a size, or `verify` where
            onnxruntime cannot run the model.
        PassFailedError: if a pass raises or leaves an invalid model; nothing is written.

    Warns:
        ConversionWarning: if nodes are left for which TensorFlow Lite has no built-in operator.

    Example:
        ``optimize("bert.onnx", target="opset23")`` writes ``bert.optimized.onnx`` and returns its path.
    """
    check_target(target)
    chosen = as_passes(passes, target)
    if isinstance(model, ir.Model):
        check_model(model)
        return _optimized(model.clone, chosen, target, verify, sizes)[0]
    if isinstance(model, onnx.ModelProto):
        proto = model
        check_model(model_from_proto(proto))
        made = _optimized(lambda: model_from_proto(proto), chosen, target, verify, sizes)[0]
        return to_proto(made)
    return optimize_file(model, passes=chosen, target=target, sizes=sizes, output=output, verify=verify).path


@dataclass(frozen=True, slots=True)
class OptimizedFile:
    """The file written, and the node counts before and after."""

    path: Path
    nodes_before: int
    nodes_after: int


def optimize_file(
    model: str | Path,
    *,
    passes: Sequence[AnyPass | str] | None = None,
    target: Target = "portable",
    sizes: Mapping[str, int] | None = None,
    output: str | Path | None = None,
    verify: bool = False,
) -> OptimizedFile:
    """`optimize` of a file, which is read once."""
    check_target(target)
    path = Path(model)
    destination = Path(output) if output else path.with_name(f"{path.stem}.optimized.onnx")
    optimized, nodes = _optimized(lambda: load_model(path), as_passes(passes, target), target, verify, sizes)
    save_model(optimized, destination, source=path)
    return OptimizedFile(destination, nodes, count_nodes(optimized))


def _optimized(
    read: Callable[[], ir.Model],
    passes: Sequence[AnyPass],
    target: Target,
    verify: bool,
    sizes: Mapping[str, int] | None,
) -> tuple[ir.Model, int]:
    """What `passes` make of the valid model that `read` gives, a new object each time; and how many nodes that has."""
    model = read()
    nodes = count_nodes(model)
    if sizes:
        passes = freezing(passes, sizes, target, model)
    described = any(_is_described(value) for value in _inner_values(model))
    ours = [pass_ for pass_ in passes if isinstance(pass_, Pass)]
    refusals = run_in_place(model, ours, target) if len(ours) == len(passes) and not verify else None
    if verify:
        from pytest_modelcheck.pipeline.verified import run_verified  # it imports a runtime

        model, refusals, wrong = run_verified(model, passes, target)
        for rewrite in wrong:
            warnings.warn(str(rewrite), WrongRewriteWarning, stacklevel=3)
    elif refusals is None:
        model, refusals = _step_by_step(read(), passes, target)
    if refused := refusals.get(CheckTfliteOps.name):
        warnings.warn(_not_convertible(refused), ConversionWarning, stacklevel=3)
    if not described:
        for value in _inner_values(model):
            value.type = value.shape = None
    return model, nodes


def _step_by_step(
    model: ir.Model, passes: Sequence[AnyPass], target: Target
) -> tuple[ir.Model, dict[str, tuple[Refused, ...]]]:
    """`run_in_place` with a check after every pass.

    Raises:
        PassFailedError: naming the pass that raised, or left an invalid model.
    """
    optimized, records = run_pipeline(model, passes, target)
    for record in records:
        if record.status is PassStatus.ERROR:
            raise PassFailedError(f"{record.name}: {record.error}")
    return optimized, {record.name: record.refusals for record in records}


def _inner_values(model: ir.Model) -> Iterator[ir.Value]:
    return (value for node in nodes_within(model.graph) for value in node.outputs if not value.is_graph_output())


def _is_described(value: ir.Value) -> bool:
    return value.type is not None or value.shape is not None


def _not_convertible(refusals: tuple[Refused, ...]) -> str:
    nodes = [f"node {refused.node!r}: {refused.reason}" for refused in refusals]
    return f"a converter to TensorFlow Lite needs custom or Flex operators for {listed(nodes, _LISTED, '; ')}"
