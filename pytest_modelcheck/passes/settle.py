"""``settle``: the passes before it once more, until none finds anything: a second run leaves what the first left.

A pass makes work for one that came before it: a fused MatMul frees a Transpose, a shape that became a number decides an
If. Each round runs all rules over the whole graph, on what the round before has left.

1. What the passes before it would do to their own result is done; shapes are inferred again where one of them has
   changed something. What they leave alone is their own refusal, not this pass'.
2. It ends with a round that changes nothing; after `_MAX_ROUNDS` of them it gives up, and says so.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter

_MAX_ROUNDS = 6
"""Rules that undo each other would never end."""


@dataclass(frozen=True)
class Settle(Pass):
    """See the module.

    Attributes:
        passes: Those that come before it in the pipeline.
    """

    passes: tuple[Pass, ...] = ()

    name: ClassVar[str] = "settle"

    def without(self, left_out: str) -> Settle:
        """The same for a pipeline that does not have the pass of this name."""
        return dataclasses.replace(self, passes=tuple(pass_ for pass_ in self.passes if pass_.name != left_out))

    def rewrite(self, rewriter: Rewriter) -> None:
        refusals = list(rewriter.refusals)
        for _ in range(_MAX_ROUNDS):
            before = rewriter.rewrites
            for pass_ in self.passes:
                done = rewriter.rewrites
                dataclasses.replace(pass_, target=self.target).rewrite(rewriter)
                if rewriter.rewrites > done and not rewriter.exhausted:
                    rewriter.sort()
                    infer_shapes(rewriter.model)
            rewriter.refusals[:] = refusals
            if rewriter.rewrites == before or rewriter.exhausted:
                return
        rewriter.refuse(f"there is still something to do after {_MAX_ROUNDS} rounds", next(iter(rewriter.nodes())))
