"""The registry of passes: explicit, in the order of the default pipeline. A new pass is one file and one line here."""

from __future__ import annotations

from pytest_modelcheck.passes.eliminate_dead_nodes import EliminateDeadNodes
from pytest_modelcheck.passes.rewriting import TARGETS, Pass, PassOutcome, Target

PASSES: tuple[Pass, ...] = (
    EliminateDeadNodes(),
)

__all__ = ["PASSES", "TARGETS", "Pass", "PassOutcome", "Target"]
