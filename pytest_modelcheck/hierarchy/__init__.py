"""Which module owns each ONNX node, with a coverage that can fail."""

from pytest_modelcheck.hierarchy.calls import ModuleCalls, modules_that_ran
from pytest_modelcheck.hierarchy.owners import Owner, OwnerKind
from pytest_modelcheck.hierarchy.report import (
    ExportedModel,
    HierarchyReport,
    case_calls,
    hierarchy,
    hierarchy_of_model,
)
from pytest_modelcheck.hierarchy.stamps import stamp, strip

__all__ = [
    "ExportedModel",
    "HierarchyReport",
    "ModuleCalls",
    "Owner",
    "OwnerKind",
    "case_calls",
    "hierarchy",
    "hierarchy_of_model",
    "modules_that_ran",
    "stamp",
    "strip",
]
