"""Fused subgraphs of a captured graph, and attention found by data flow."""

from pytest_modelcheck.fusion.analysing import analyse
from pytest_modelcheck.fusion.command import find_case, fusion_of
from pytest_modelcheck.fusion.partitioning import partition
from pytest_modelcheck.fusion.picture import fusion_svg, pictured_owner
from pytest_modelcheck.fusion.printing import report_figures, report_lines
from pytest_modelcheck.fusion.report import FusionReport, Subgraph
from pytest_modelcheck.fusion.rules import DEFAULT_RULES, RULE_SETS, Rule
from pytest_modelcheck.fusion.text import fusion_text, unfused_lines

__all__ = [
    "DEFAULT_RULES",
    "RULE_SETS",
    "FusionReport",
    "Rule",
    "Subgraph",
    "analyse",
    "find_case",
    "fusion_of",
    "fusion_svg",
    "fusion_text",
    "partition",
    "pictured_owner",
    "report_figures",
    "report_lines",
    "unfused_lines",
]
