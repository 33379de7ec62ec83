"""What an export gives: the ONNX file with everything that made it, or the typed reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.graph.files import read_model
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.store import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An ONNX model on disk, checked, with the options and versions that made it.

    Attributes:
        case: The case it was made of; its `exporter` is the one that was used.
        exporter: ``"dynamo"`` or ``"torchscript"``; ``"onnx"`` for a case that is an .onnx file.
        path: The .onnx file; large weights lie beside it in ``<name>.onnx.data``.
        key: Everything that the file was made from.
        seconds: Wall time of the export that made the file, also where that was an earlier run.
        cached: Whether an earlier run made the file.
        why: Where it was exported now although there is a cache: what differs from the last time, in words.
        versions: Library -> version, of the libraries that made the file.
        warnings: What the exporter said meanwhile, each text once; a tracer's warning about a frozen branch is here.
    """

    case: ModelCase
    exporter: str
    path: Path
    key: Manifest
    seconds: float
    cached: bool = False
    why: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def model(self) -> ir.Model:
        """The model, read from `path`: a new object on every access, free to be edited.

        External weights are memory-mapped when first read, so a second copy costs its graph, not its weights.
        """
        return read_model(self.path)


class FailureKind(StrEnum):
    """Why there is no exported model."""

    BUILD_FAILED = "build_failed"
    INPUTS_FAILED = "inputs_failed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    FORWARD_FAILED = "forward_failed"
    OUTPUTS_FAILED = "outputs_failed"
    UNSUPPORTED_OPERATOR = "unsupported_operator"
    DATA_DEPENDENT_CONTROL_FLOW = "data_dependent_control_flow"
    DYNAMIC_SHAPE = "dynamic_shape"
    INVALID_OPTION = "invalid_option"
    INVALID_MODEL = "invalid_model"
    FILE_DIFFERS = "file_differs"
    DISK_FULL = "disk_full"
    OUT_OF_MEMORY = "out_of_memory"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFailure:
    """Why a case has no exported model.

    Attributes:
        case_name: Name of the model case.
        exporter: The exporter that was asked.
        kind: See `FailureKind`.
        reason: The cause in one sentence.
        where: The user's source line, ``"my_model.py:12: if x.sum() > 0:"``, where it is known; else empty.
        next: What the reader can do about it.
        detail: The exporter's own words, in full: messages, warnings and traceback. For a log, not for a summary.
    """

    case_name: str
    exporter: str
    kind: FailureKind
    reason: str
    where: str = ""
    next: str = ""
    detail: str = ""

    def render(self) -> str:
        """The failure as text: one headline, then the labelled blocks `where:` and `next:`."""
        lines = [f"export of {self.case_name} by {self.exporter} failed ({self.kind}): {self.reason}"]
        lines += [f"  {label:<7}{text}" for label, text in (("where:", self.where), ("next:", self.next)) if text]
        return "\n".join(lines)
