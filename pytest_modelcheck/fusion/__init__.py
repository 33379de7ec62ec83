"""Fused subgraphs of a captured graph, and attention found by data flow."""

from pytest_modelcheck.fusion.partitioner import partition
from pytest_modelcheck.fusion.picture import fusion_svg, pictured_owner
from pytest_modelcheck.fusion.report import FusionReport, Subgraph
from pytest_modelcheck.fusion.rules import DEFAULT_RULES, RULE_SETS, Rule
from pytest_modelcheck.fusion.text import apart_lines, fusion_text, unfused_lines
from pytest_modelcheck.fusion.views import analyse

__all__ = [
    "DEFAULT_RULES",
    "RULE_SETS",
    "FusionReport",
    "Rule",
    "Subgraph",
    "analyse",
    "apart_lines",
    "fusion_svg",
    "fusion_text",
    "partition",
    "pictured_owner",
    "unfused_lines",
]
