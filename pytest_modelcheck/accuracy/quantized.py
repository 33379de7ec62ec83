"""Whether a graph rounds what it computes to integers, which is coarser than any rounding of floats."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes

_INTEGER = {"QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}


def rounds_to_integers(model: ir.Model) -> bool:
    """Whether activations are quantized. Weights that are stored as integers alone (DequantizeLinear) round nothing.

    Where a value lies between two steps, the order of a sum decides which one it becomes: graphs that compute the same
    differ by whole steps, in the runtime's own optimizer, too (onnxruntime 1.31 by 2e-3 of magnitude 1).
    """
    return any(
        node.op_type.startswith("QLinear") or (node.op_type in _INTEGER and _reads_a_value(node))
        for node in all_nodes(model)
    )


def _reads_a_value(node: ir.Node) -> bool:
    first = node.inputs[0] if node.inputs else None
    return first is not None and first.const_value is None
