"""Fused subgraphs of a captured graph, and attention found by data flow."""

from pytest_modelcheck.fusion.analysing import analyse
from pytest_modelcheck.fusion.partitioning import partition
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
    "fusion_text",
    "partition",
    "unfused_lines",
]
