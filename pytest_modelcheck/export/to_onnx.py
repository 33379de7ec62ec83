"""`export`: from a model case to a checked .onnx file, or to the reason why there is none."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from pytest_modelcheck.calling import ModuleInputs, build_module, eval_mode, module_inputs, run_module
from pytest_modelcheck.errors import InvalidModelError, ModelCaseError
from pytest_modelcheck.export.alternatives import working_alternative
from pytest_modelcheck.export.checks import (
    check_module,
    check_names,
    check_options,
    check_result,
    merged_dimensions,
    unread_inputs,
)
from pytest_modelcheck.export.dynamo import write as write_dynamo
from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.exporter_output import Heard, listening
from pytest_modelcheck.export.failures import classify, failure
from pytest_modelcheck.export.from_file import open_onnx
from pytest_modelcheck.export.keeping import MODEL_FILE, kept_export
from pytest_modelcheck.export.time_limit import TimeLimitError, at_most
from pytest_modelcheck.export.torchscript import write as write_torchscript
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.model_case import EXAMPLE_SEED, Exporter, ModelCase
from pytest_modelcheck.store import Manifest, Store, library_versions

_Write = Callable[[ModelCase, torch.nn.Module, ModuleInputs, Sequence[str], Path], None]
_WRITE: dict[str, _Write] = {"dynamo": write_dynamo, "torchscript": write_torchscript}
_REFUSED = (FailureKind.UNSUPPORTED_OPERATOR, FailureKind.DATA_DEPENDENT_CONTROL_FLOW)
"""Kinds of failure for which another implementation of the module is tried."""


def export(
    case: ModelCase,
    *,
    module: torch.nn.Module | None = None,
    cache: Store | None = None,
    exporter: Exporter | None = None,
    timeout: float | None = None,
) -> Exported | ExportFailure:
    """Export `case` to an .onnx file.

    Args:
        case: What to export.
        module: Already built; default: ``case.build()`` under the fixed seed. It is exported in eval mode and gets
            its own mode back.
        cache: Where to look for an export of an earlier run, and to keep a new one. None: export now, into a
            temporary folder that lives as long as the process.
        exporter: Instead of the case's own.
        timeout: Seconds that the exporter may take; None for any. A kept export is held to it as well, by the seconds
            that it took.

    Returns:
        The checked model, or the failure: whatever the exporter raises is a result, not an exception.
    """
    if exporter is not None:
        case = dataclasses.replace(case, exporter=exporter)
    if case.onnx_path is not None:
        return open_onnx(case, case.onnx_path)
    try:
        module = build_module(case) if module is None else module
    except ModelCaseError as error:
        return classify(
            case, error, otherwise=FailureKind.BUILD_FAILED, next_step="fix build(), which raises on its own"
        )
    if (wrong := check_module(case, module)) is not None:
        return wrong
    with eval_mode(module), torch.random.fork_rng(devices=[]):
        try:
            inputs = module_inputs(case, module, EXAMPLE_SEED)
        except ModelCaseError as error:
            step = "let inputs(seed) return a dict of tensors by parameter name, or a tuple of tensors"
            return failure(case, FailureKind.INPUTS_FAILED, str(error), next_step=step, error=error)

        def make(folder: Path, ran: Callable[[], None]) -> Exported | ExportFailure:
            return _export(case, module, inputs, folder, ran, timeout)

        made = kept_export(case, module, inputs, cache, make)
        late = isinstance(made, Exported) and timeout is not None and made.seconds > timeout
        return _late(case, timeout) if late else made


def _late(case: ModelCase, timeout: float | None) -> ExportFailure:
    step = "see what slowed it down (a new torch, a larger graph), or raise modelcheck_export_timeout"
    return failure(case, FailureKind.TIMEOUT, f"the exporter took more than {timeout:g} s", next_step=step)


def _export(
    case: ModelCase,
    module: torch.nn.Module,
    inputs: ModuleInputs,
    folder: Path,
    ran: Callable[[], None],
    timeout: float | None,
) -> Exported | ExportFailure:
    if (wrong := check_options(case, inputs)) is not None:
        return wrong
    try:
        outputs = tuple(run_module(case, module, inputs))
    except ModelCaseError as error:
        forward_raised = error.__cause__ is not None
        kind = FailureKind.FORWARD_FAILED if forward_raised else FailureKind.OUTPUTS_FAILED
        step = "call the module with inputs(0) on its own and fix that" if forward_raised else "fix output_names="
        return classify(case, error, otherwise=kind, next_step=step)
    ran()
    if (wrong := check_names(case, inputs, outputs)) is not None:
        return wrong
    path = folder / MODEL_FILE
    start = time.perf_counter()
    with listening() as heard, torch.no_grad(), _no_mha_fastpath():

        def write() -> None:
            with at_most(timeout):
                _WRITE[case.exporter](case, module, inputs, outputs, path)

        try:
            write()
        except TimeLimitError:
            return _late(case, timeout)
        except (Exception, SystemExit) as error:
            refused = classify(case, error, heard=heard.printed)
            if refused.kind in _REFUSED and (call := working_alternative(module, write)):
                step = f"call {call} in build(): with it {case.exporter} exported this case"
                return dataclasses.replace(refused, next=step)
            return refused
    return _finished(case, inputs, outputs, path, start, heard)


def _finished(
    case: ModelCase,
    inputs: ModuleInputs,
    outputs: Sequence[str],
    path: Path,
    start: float,
    heard: Heard,
) -> Exported | ExportFailure:
    """Check what the exporter wrote."""
    try:
        model = load_model(path)
    except InvalidModelError as error:
        step = "report it to the exporter's project; the other exporter may take the model"
        return failure(case, FailureKind.INVALID_MODEL, str(error), next_step=step, error=error)
    if (wrong := check_result(case, model, inputs, outputs)) is not None:
        return wrong
    for name in unread_inputs(model, inputs):
        heard.add(f"the exported graph does not read the input {name!r}")
    for merged in merged_dimensions(model, inputs):
        heard.add(f"{merged}: the forward takes equal sizes only")
    return Exported(
        case=case,
        exporter=case.exporter,
        path=path,
        key=Manifest(),
        seconds=time.perf_counter() - start,
        versions=library_versions(),
        warnings=tuple(heard.warnings),
    )


@contextlib.contextmanager
def _no_mha_fastpath() -> Iterator[None]:
    """Without gradients nn.TransformerEncoderLayer takes a fused operator that no opset has.

    Without gradients all the same: with them, torch 2.13 fails on T5 (a view of the strides that attention saves for
    its backward pass).
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
