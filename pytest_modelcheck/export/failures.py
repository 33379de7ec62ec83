"""From an exporter's exception to a typed `ExportFailure`: the kind, one sentence, the user's line, the way out."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from pytest_modelcheck.export.exported import ExportFailure, FailureKind
from pytest_modelcheck.model_case import ModelCase

_NEXT = {
    FailureKind.UNSUPPORTED_OPERATOR: "write it with supported operators, raise opset=, or try the other exporter",
    FailureKind.DATA_DEPENDENT_CONTROL_FLOW: "use torch.where or torch.cond there, or decide the branch outside forward",
    FailureKind.DYNAMIC_SHAPE: "change dynamic_axes (another name, one axis less) or the shapes of the example inputs",
    FailureKind.OUT_OF_MEMORY: "free memory, or export a smaller model: an export holds about three copies of the weights",
    FailureKind.UNKNOWN: "read the exporter's own words in the detail; the other exporter may take the model",
}

_SIGNS: tuple[tuple[FailureKind, str], ...] = (
    (
        FailureKind.OUT_OF_MEMORY,
        r"MemoryError|can't allocate memory|not enough memory|Cannot allocate memory|No space left",
    ),
    (
        FailureKind.DATA_DEPENDENT_CONTROL_FLOW,
        r"GuardOnDataDependentSymNode|data-dependent (expression|branching|control flow)|Dynamic control flow|"
        r"DynamicControlFlow|Could not guard on data",
    ),
    (FailureKind.DYNAMIC_SHAPE, r"Constraints? violated|ConstraintViolation|CONSTRAINT_VIOLATION|was specialized to"),
    (
        FailureKind.UNSUPPORTED_OPERATOR,
        r"UnsupportedOperatorError|No ONNX function found for|Exporting the operator|unrecognized namespace",
    ),
)


def classify(case: ModelCase, error: BaseException, heard: str = "") -> ExportFailure:
    """The failure that `error`, raised by an exporter, stands for."""
    chain = list(_chain(error))
    text = "\n".join(f"{type(item).__name__}: {item}" for item in chain)
    kind = next((kind for kind, sign in _SIGNS if re.search(sign, text)), FailureKind.UNKNOWN)
    detail = "".join(traceback.format_exception(error))
    return ExportFailure(
        case_name=case.name,
        exporter=case.exporter,
        kind=kind,
        reason=_sentence(kind, text),
        where=_where(chain, text),
        next=_NEXT[kind],
        detail=f"{heard}\n{detail}".strip(),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and not any(current is other for other in seen):
        seen.append(current)
        current = current.__cause__ or current.__context__
    return reversed(seen)


def _sentence(kind: FailureKind, text: str) -> str:
    sign = dict(_SIGNS).get(kind)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    chosen = next((line for line in lines if sign and re.search(sign, line)), lines[0] if lines else "no message")
    return " ".join(chosen.split())[:300]


def _where(chain: list[BaseException], text: str) -> str:
    """The innermost line of the user's own code, from the traceback, or else from the trace that torch quotes."""
    for item in chain:
        for frame in reversed(traceback.extract_tb(item.__traceback__)):
            if not _is_library(frame.filename):
                return f"{frame.filename}:{frame.lineno}: {frame.line or ''}".strip()
    for quoted in reversed(re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', text)):
        if not _is_library(quoted[0]):
            return f"{quoted[0]}:{quoted[1]}: {quoted[2]}".strip()
    return ""


def _is_library(filename: str) -> bool:
    package = Path(__file__).parent.parent
    return (
        "site-packages" in filename
        or filename.startswith("<")
        or "/lib/python3" in filename
        or (Path(filename).is_relative_to(package))
    )
