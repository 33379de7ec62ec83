"""torch -> ONNX: `export` gives a checked file or a typed failure, never a traceback."""

from pytest_modelcheck.export.cache import ExportCache
from pytest_modelcheck.export.exported import Exported, ExportFailure, FailureKind
from pytest_modelcheck.export.exporting import export
from pytest_modelcheck.export.key import ExportKey
from pytest_modelcheck.export.repeating import check_repeatable

__all__ = ["ExportCache", "ExportFailure", "ExportKey", "Exported", "FailureKind", "check_repeatable", "export"]
