"""A shipped .onnx file beside the torch module that it was made of: one set of names, and whether the two fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from pytest_modelcheck.calling import describe, run_module
from pytest_modelcheck.check.torch_side import TorchSide
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.export import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.failures import failure
from pytest_modelcheck.interface import Port, interface_of
from pytest_modelcheck.interface.text import port_text
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import Signature, inputs_from_signature, signature_of

_NEXT = "let build() and inputs() give what the file was exported from, or export the file again"


def named_after_its_file(case: ModelCase) -> ModelCase:
    """`case` with the names and dynamic axes that its file declares, and inputs drawn from them where it has none.

    A case without a file or without a module is returned as it is, as is one whose file cannot be read: opening it
    says why.
    """
    if case.onnx_path is None or case.build is None:
        return case
    try:
        signature = signature_of(case.onnx_path, case.name)
    except Exception:  # whatever a broken file makes the reader raise
        return case
    named = dataclasses.replace(
        case,
        inputs=case.inputs or (lambda seed: _drawn(signature, seed)),
        input_names=tuple(port.name for port in signature.inputs),
        output_names=tuple(port.name for port in signature.outputs),
    )
    try:
        return dataclasses.replace(named, dynamic_axes=_axes(signature))
    except ModelCaseError:  # expressions that are none of ours: those axes are not varied
        return named


def _drawn(signature: Signature, seed: int) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in inputs_from_signature(signature, seed).items()}


def _axes(signature: Signature) -> dict[str, dict[int, str]]:
    found = {
        port.name: {axis: dim for axis, dim in enumerate(port.shape) if isinstance(dim, str)}
        for port in signature.inputs
    }
    return {name: axes for name, axes in found.items() if axes}


def misfit(side: TorchSide, opened: Exported) -> ExportFailure | None:
    """Why the file cannot be the module's: another type, rank or fixed size of an input or an output; else None.

    Raises:
        FindingError: if the module cannot be built, or its inputs or outputs do not fit the file's in number.
    """
    promised = interface_of(opened.model)
    inputs = side.example
    outputs = side.settings.working("forward", lambda: run_module(side.case, side.module, inputs))
    wrong = [
        *_misfits("input", promised.inputs, inputs.as_dict()),
        *_misfits("output", promised.outputs, outputs),
    ]
    if not wrong:
        return None
    return failure(side.case, FailureKind.FILE_DIFFERS, "; ".join(wrong), next_step=_NEXT)


def _misfits(role: str, promised: tuple[Port, ...], given: Mapping[str, Any]) -> Iterator[str]:
    for port in promised:
        value = given[port.name]
        if not _fits(port, value):
            yield f"{role} {port_text(port)} of the file is {describe(value)} of the module"


def _fits(port: Port, value: torch.Tensor) -> bool:
    if str(value.dtype).removeprefix("torch.") != port.dtype:
        return False
    if port.dims is None:
        return True
    sizes = tuple(value.shape)
    return len(sizes) == len(port.dims) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(port.dims, sizes, strict=True)
    )
