"""``eliminate_dead_nodes``: remove nodes whose outputs nobody reads, and functions that nobody calls.

1. A node is dead if none of its outputs is read, in its own graph or in a subgraph, or is a graph output.
2. Producers that only a dead node read die with it.
3. A function that no living node calls, directly or through another function, is removed.
4. Unused trailing outputs of a living node stay: trimming them would change its interface, not the node count.

Operators have no side effects (ONNX IR specification, "Graphs"), so this is always right.
"""

from __future__ import annotations

from pytest_modelcheck.graph.counts import nodes_within
from pytest_modelcheck.graph.readers import is_needed
from pytest_modelcheck.rewriting import Pass, Rewriter


class EliminateDeadNodes(Pass):
    name = "eliminate_dead_nodes"
    rules = ("node", "function")

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes():
            if not any(map(is_needed, node.outputs)):
                rewriter.remove_dead(node)
        _remove_uncalled_functions(rewriter)


def _remove_uncalled_functions(rewriter: Rewriter) -> None:
    rewriter.begin_rule("function")
    functions = rewriter.model.functions
    called = set()
    pending = [node.op_identifier() for node in nodes_within(rewriter.model.graph)]
    while pending:
        identifier = pending.pop()
        if identifier in functions and identifier not in called:
            called.add(identifier)
            pending += [node.op_identifier() for node in nodes_within(functions[identifier])]
    for identifier in [key for key in functions if key not in called]:
        if rewriter.exhausted:
            return
        rewriter.remove_function(identifier)
