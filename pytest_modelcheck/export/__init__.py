"""torch -> ONNX: `export` gives a checked file or a typed failure, never a traceback."""

from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.keeping import was_edited
from pytest_modelcheck.export.repeatability import check_repeatable
from pytest_modelcheck.export.to_onnx import export

__all__ = ["ExportFailure", "Exported", "FailureKind", "check_repeatable", "export", "was_edited"]
