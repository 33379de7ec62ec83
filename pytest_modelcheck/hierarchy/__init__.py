"""Which module owns each ONNX node, with a coverage that can fail; torch is needed in `recorded_calls` alone."""

from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.find_owners import ExportedModel, hierarchy, hierarchy_of_model
from pytest_modelcheck.hierarchy.owners import Owner, OwnerKind
from pytest_modelcheck.hierarchy.pass_owners import PipelineHierarchy, StageHierarchy, StageWatch
from pytest_modelcheck.hierarchy.report import HierarchyReport, Strategy
from pytest_modelcheck.hierarchy.sidecar import (
    Sidecar,
    SidecarError,
    read_sidecar,
    reattach,
    sidecar_path,
    write_sidecar,
)
from pytest_modelcheck.hierarchy.stamps import stamp, strip
from pytest_modelcheck.hierarchy.strategies import STRATEGIES, Recommendation, StrategyName, recommend
from pytest_modelcheck.hierarchy.table import ModuleRow, ModuleTable, module_table
from pytest_modelcheck.hierarchy.table_diff import changed_modules, diff_tables, op_changes, without_values
from pytest_modelcheck.hierarchy.table_text import parse, render

__all__ = [
    "STRATEGIES",
    "ExportedModel",
    "HierarchyReport",
    "ModuleCalls",
    "ModuleRow",
    "ModuleTable",
    "Owner",
    "OwnerKind",
    "PipelineHierarchy",
    "Recommendation",
    "Sidecar",
    "SidecarError",
    "StageHierarchy",
    "StageWatch",
    "Strategy",
    "StrategyName",
    "changed_modules",
    "diff_tables",
    "hierarchy",
    "hierarchy_of_model",
    "module_table",
    "op_changes",
    "parse",
    "read_sidecar",
    "reattach",
    "recommend",
    "render",
    "sidecar_path",
    "stamp",
    "strip",
    "without_values",
    "write_sidecar",
]
