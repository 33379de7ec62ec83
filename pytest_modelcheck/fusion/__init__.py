"""Fused subgraphs of a captured graph, and attention found by data flow."""

from pytest_modelcheck.fusion.partitioning import FusionReport, Subgraph, partition
from pytest_modelcheck.fusion.rules import DEFAULT_RULES, RULE_SETS, Rule
from pytest_modelcheck.fusion.text import fusion_text

__all__ = ["DEFAULT_RULES", "RULE_SETS", "FusionReport", "Rule", "Subgraph", "fusion_text", "partition"]
