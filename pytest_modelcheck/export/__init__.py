"""torch -> ONNX: `export` gives a checked file or a typed failure, never a traceback."""

from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.exporting import export

__all__ = ["ExportFailure", "Exported", "FailureKind", "export"]
