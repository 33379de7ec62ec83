"""``eliminate_unused_initializers``: remove weights that nobody reads.

1. An initializer of the graph or of a subgraph is unused if no node, in its own graph or a subgraph, reads it and it is
   no graph output.
2. An initializer that is a graph input as well (IR version 3, or a default value) stays: without it the caller would
   have to pass that input.
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.readers import is_needed
from pytest_modelcheck.rewriting import Pass, Rewriter


class EliminateUnusedInitializers(Pass):
    name = "eliminate_unused_initializers"

    def rewrite(self, rewriter: Rewriter) -> None:
        for graph in rewriter.scopes():
            if not isinstance(graph, ir.Graph):
                continue
            for value in list(graph.initializers.values()):
                if rewriter.exhausted:
                    return
                if not is_needed(value) and value.is_graph_input():
                    rewriter.refuse_value("it is the default value of a graph input", value)
                elif not is_needed(value):
                    rewriter.remove_unread(value)
