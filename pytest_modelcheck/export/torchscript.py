"""The legacy exporter: `torch.jit.trace`, then a translation operator by operator."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx_ir as ir
import torch

from pytest_modelcheck.calling import ModuleInputs, flat_forward, weight_bytes
from pytest_modelcheck.graph.files import LARGE_MODEL_BYTES, save_model
from pytest_modelcheck.model_case import ModelCase

DEFAULT_OPSET = 17


def write(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, outputs: Sequence[str], path: Path) -> None:
    """Export `module` to `path`; the exporter writes weights inside the file, large ones are moved beside it."""
    arguments = {"opset_version": case.opset or DEFAULT_OPSET, **case.export_options}
    if inputs.axes:
        arguments["dynamic_axes"] = {name: dict(axes) for name, axes in inputs.axes.items()}
    large = weight_bytes(module) > LARGE_MODEL_BYTES
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        raw = Path(scratch) / path.name if large else path  # above 2 GB torch writes one more file per weight
        with flat_forward(case, module, inputs) as flat, _log_to_stdout():
            torch.onnx.export(
                flat,
                inputs.values,
                str(raw),
                dynamo=False,
                input_names=list(inputs.names),
                output_names=list(outputs),
                **arguments,
            )
        if large:
            save_model(ir.load(raw), path)


@contextlib.contextmanager
def _log_to_stdout() -> Iterator[None]:
    """Print the exporter's graph dump through `sys.stdout`, where it can be caught.

    The exporter writes it to the process's own stdout, and its switch for that is always on (torch 2.13,
    `setup_onnx_logging` tests a function for truth instead of calling it).
    """
    name = "_jit_onnx_log"
    before = getattr(torch._C, name, None)
    if before is None:
        yield
        return
    setattr(torch._C, name, print)
    try:
        yield
    finally:
        setattr(torch._C, name, before)
