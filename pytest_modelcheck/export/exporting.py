"""`export`: from a model case to a checked .onnx file, or to the reason why there is none."""

from __future__ import annotations

import atexit
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import torch

from pytest_modelcheck.calling import ModuleInputs, build_module, eval_mode, module_inputs, run_module
from pytest_modelcheck.errors import InvalidModelError, ModelCaseError
from pytest_modelcheck.export import dynamo, torchscript
from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.failures import classify
from pytest_modelcheck.export.quiet import listening
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.model_case import EXAMPLE_SEED, Exporter, ModelCase

_Write = Callable[[ModelCase, torch.nn.Module, ModuleInputs, Sequence[str], Path], None]
_WRITE: dict[str, _Write] = {"dynamo": dynamo.write, "torchscript": torchscript.write}


def export(
    case: ModelCase, *, module: torch.nn.Module | None = None, exporter: Exporter | None = None
) -> Exported | ExportFailure:
    """Export `case` to an .onnx file.

    Args:
        case: What to export.
        module: Already built; default: ``case.build()`` under the fixed seed. It is exported in eval mode and gets
            its own mode back.
        exporter: Instead of the case's own.

    Returns:
        The checked model, or the failure: whatever the exporter raises is a result, not an exception.
    """
    if exporter is not None:
        case = dataclasses.replace(case, exporter=exporter)
    if case.onnx_path is not None:
        return _open(case, case.onnx_path)
    try:
        module = build_module(case) if module is None else module
    except ModelCaseError as error:
        return _failure(case, FailureKind.BUILD_FAILED, error, "call build() by itself and mend what it raises")
    with eval_mode(module):
        try:
            inputs = module_inputs(case, module, EXAMPLE_SEED)
        except ModelCaseError as error:
            return _failure(case, FailureKind.INPUTS_FAILED, error, "inputs(seed) gives a dict or tuple of tensors")
        try:
            outputs = tuple(run_module(case, module, inputs))
        except ModelCaseError as error:
            return _failure(case, FailureKind.SIGNATURE_MISMATCH, error, "inputs() names the forward's parameters")
        return _export(case, module, inputs, outputs)


def _export(
    case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, outputs: Sequence[str]
) -> Exported | ExportFailure:
    folder = Path(tempfile.mkdtemp(prefix="modelcheck-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "model.onnx"
    start = time.perf_counter()
    with listening() as heard:
        try:
            _WRITE[case.exporter](case, module, inputs, outputs, path)
        except Exception as error:
            return classify(case, error, heard.printed)
    try:
        load_model(path)
    except InvalidModelError as error:
        return _failure(case, FailureKind.INVALID_MODEL, error, "the other exporter may take the model")
    return Exported(
        case=case,
        exporter=case.exporter,
        path=path,
        seconds=time.perf_counter() - start,
        versions={name: metadata.version(name) for name in ("torch", "onnx", "onnx_ir", "onnxscript")},
        warnings=tuple(heard.warnings),
    )


def _open(case: ModelCase, path: Path) -> Exported | ExportFailure:
    start = time.perf_counter()
    try:
        load_model(path)
    except (InvalidModelError, OSError) as error:
        return dataclasses.replace(
            _failure(
                case, FailureKind.INVALID_MODEL, error, "give the path of a valid .onnx file with its data beside it"
            ),
            exporter="onnx",
        )
    return Exported(case=case, exporter="onnx", path=path, seconds=time.perf_counter() - start)


def _failure(case: ModelCase, kind: FailureKind, error: Exception, next_step: str) -> ExportFailure:
    reason = " ".join(str(error).split()).removeprefix(f"{case.name}: ")
    return ExportFailure(case_name=case.name, exporter=case.exporter, kind=kind, reason=reason, next=next_step)
