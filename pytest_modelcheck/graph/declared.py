"""What a file declares of the values inside its graph, kept apart from what was inferred about them."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes

DECLARED = "pytest_modelcheck.declared"
"""Key in a value's `meta` of the type and shape that its file declares."""


def remember_declared(model: ir.Model) -> None:
    """Note at every value what its file says of it, before `infer_shapes` fills in more."""
    for node in all_nodes(model):
        for value in node.outputs:
            value.meta[DECLARED] = (value.type, None if value.shape is None else value.shape.copy())


def forget_inferred(model: ir.Model) -> None:
    """Take from the values inside the graph, in place, every type and shape that no file declared.

    What is measured of somebody else's optimizer is what it does with the file that a user would give it. Values that
    one of our passes made have no declaration.
    """
    for node in all_nodes(model):
        for value in node.outputs:
            if not value.is_graph_output():
                value.type, shape = value.meta.get(DECLARED, (None, None))
                value.shape = None if shape is None else shape.copy()
