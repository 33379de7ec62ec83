"""Putting the content of a subgraph in the place of the node that it belongs to."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.rewriting.rewriter import Rewriter, Scope


def take_out(rewriter: Rewriter, branch: ir.Graph, scope: Scope) -> list[ir.Value]:
    """Empty `branch`, so that its nodes can be put into `scope`, the one around it; its results, in order.

    The nodes get new names, because a sibling may use the same, and read constants of `scope`. Not counted.
    All initializers of the branch have data.
    """
    results, nodes = list(branch.outputs), tuple(branch)
    branch.outputs.clear()
    for value in list(branch.initializers.values()):
        assert value.const_value is not None
        constant = rewriter.constant_value(scope, value.const_value, value.name or "constant")
        results = [constant if result is value else result for result in results]
        value.replace_all_uses_with(constant)
    branch.initializers.clear()
    branch.remove(nodes)
    for node in nodes:
        node.name = rewriter.new_value_name(node.name or node.op_type)
        for output in node.outputs:
            output.name = rewriter.new_value_name(output.name or node.op_type)
    return results
