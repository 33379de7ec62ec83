"""The registry of passes: explicit, in the order of the default pipeline. A new pass is one file and one line here."""

from __future__ import annotations

from pytest_modelcheck.passes.eliminate_dead_nodes import EliminateDeadNodes
from pytest_modelcheck.passes.fuse_conv_batchnorm import FuseConvBatchnorm
from pytest_modelcheck.passes.fuse_conv_relu import FuseConvRelu
from pytest_modelcheck.passes.fuse_gelu import FuseGelu
from pytest_modelcheck.passes.fuse_layernorm import FuseLayernorm
from pytest_modelcheck.passes.rewriting import TARGETS, Pass, PassOutcome, Target

PASSES: tuple[Pass, ...] = (
    EliminateDeadNodes(),
    FuseConvBatchnorm(),
    FuseConvRelu(),
    FuseLayernorm(),
    FuseGelu(),
)

PREPARATION_PASSES: tuple[Pass, ...] = ()
"""For a conversion target; not in the default pipeline."""

__all__ = ["PASSES", "PREPARATION_PASSES", "TARGETS", "Pass", "PassOutcome", "Target"]
