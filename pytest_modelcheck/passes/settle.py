"""``settle``: the passes before it once more, until none finds anything: a second run leaves what the first left.

A pass makes work for one that came before it: a fused MatMul frees a Transpose, a shape that became a number decides an
If. Each round runs all rules over the whole graph, on what the round before has left.

1. What the passes before it would do to their own result is done; shapes are inferred again where one of them has
   changed something. What they leave alone is their own refusal, not this pass'.
2. It ends when every pass has found nothing in the graph as it is, which the last ones of the pipeline may have done
   before it (`idle`); after `_MAX_ROUNDS` rounds it gives up, and says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from pytest_modelcheck.rewriting import Pass, Rewriter

_MAX_ROUNDS = 6
"""Rules that undo each other would never end."""


@dataclass(frozen=True)
class Settle(Pass):
    """See the module.

    Attributes:
        passes: Those that come before it in the pipeline.
        idle: Those of them that have found nothing to do in the graph as it is.
    """

    passes: tuple[Pass, ...] = ()
    idle: frozenset[Pass] = frozenset()

    name = "settle"
    moves_factors = True

    def without(self, left_out: str) -> Settle:
        """The same for a pipeline that does not have the pass of this name."""
        return dataclasses.replace(self, passes=tuple(pass_ for pass_ in self.passes if pass_.name != left_out))

    def knowing(self, idle: Collection[Pass]) -> Settle:
        """The same where these passes have found nothing to do in the graph as it is."""
        return dataclasses.replace(self, idle=frozenset(idle))

    def rewrite(self, rewriter: Rewriter) -> None:
        refusals = list(rewriter.refusals)
        idle = set(self.idle)
        for _ in range(_MAX_ROUNDS):
            for pass_ in self.passes:
                if pass_ in idle or rewriter.exhausted:
                    continue
                rewriter.infer_shapes()
                before = rewriter.rewrites
                dataclasses.replace(pass_, target=self.target).rewrite(rewriter)
                if rewriter.rewrites == before:
                    idle.add(pass_)
                    continue
                rewriter.sort()
                idle.clear()
            rewriter.refusals[:] = refusals
            if rewriter.exhausted or idle.issuperset(self.passes):
                return
        rewriter.refuse(f"there is still something to do after {_MAX_ROUNDS} rounds", next(iter(rewriter.nodes())))
