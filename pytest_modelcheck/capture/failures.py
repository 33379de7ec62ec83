"""From what a tracer raised to a `CaptureFailure`: kind, one sentence, the user's line, what to change."""

from __future__ import annotations

import inspect
import re
import traceback
from pathlib import Path

import torch

from pytest_modelcheck.capture.captured import CaptureFailure, CaptureFailureKind
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase

K = CaptureFailureKind

SYMPTOMS: tuple[tuple[CaptureFailureKind, str, str, str], ...] = (
    (
        K.DATA_DEPENDENT_CONTROL_FLOW,
        r"data-dependent|GuardOnDataDependent|symbolically traced variables cannot be used as inputs to control flow",
        "the forward branches on the value of a tensor",
        "compute both branches and choose with torch.where, or use torch.cond",
    ),
    (
        K.SHAPE_DEPENDENT_CONTROL_FLOW,
        r"'Proxy' object cannot be interpreted as an integer|Proxy object cannot be iterated",
        "the forward needs a size as a Python number while it is traced",
        "capture with torch.export (how='export'), which traces with real sizes",
    ),
    (
        K.DYNAMIC_TENSOR_CONSTRUCTION,
        r"zeros\(\)|ones\(\)|empty\(\)|full\(\)|received an invalid combination of arguments",
        "the forward makes a tensor from a traced size",
        "capture with torch.export (how='export'), or make the tensor from an existing one (new_zeros, zeros_like)",
    ),
    (
        K.SIGNATURE_MISMATCH,
        r"missing \d+ required|unexpected keyword argument|multiple values for argument|takes \d+ positional",
        "the inputs do not fit the forward's signature",
        "let inputs() return a dict with the forward's parameter names",
    ),
    (
        K.UNSUPPORTED_CALL,
        r"UnsupportedOperator|[Uu]nsupported|not supported|no fake impl|NotImplementedError|DynamicOutputShape",
        "the forward calls something that has no traceable form",
        "replace the call, or register it with torch.library.custom_op and a fake implementation",
    ),
)
"""Kind, symptom in the tracer's message, sentence, remedy; the first that matches counts."""


def explain(
    case: ModelCase, module: torch.nn.Module, error: Exception, forward_error: ModelCaseError | None
) -> CaptureFailure:
    """The failure that `error` means; `forward_error` is what the plain forward raised, if it did."""
    where = source_line(error, module)
    if forward_error is not None:
        text = str(forward_error)
        mismatch = re.search(SYMPTOMS[3][1], text) is not None
        kind = K.SIGNATURE_MISMATCH if mismatch else K.FORWARD_FAILED
        return CaptureFailure(case_name=case.name, kind=kind, reason=text, where=where, next=SYMPTOMS[3][3])
    said = f"{type(error).__name__}: {error}"
    for kind, pattern, sentence, remedy in SYMPTOMS:
        if re.search(pattern, said):
            reason = f"{sentence} ({_first_line(said)})"
            return CaptureFailure(case_name=case.name, kind=kind, reason=reason, where=where, next=remedy)
    return CaptureFailure(case_name=case.name, kind=K.UNKNOWN, reason=_first_line(said), where=where)


def source_line(error: BaseException, module: torch.nn.Module) -> str:
    """The innermost line of the traceback that stands in the source file of one of the module's classes."""
    files = {_source_file(type(submodule)) for submodule in module.modules()}
    files = {file for file in files if file and f"{Path('torch') / 'nn'}" not in file}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return ""
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line}"


def _source_file(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]
