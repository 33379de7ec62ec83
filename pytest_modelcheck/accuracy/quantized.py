"""Whether a graph rounds what it computes to integers, which is coarser than any rounding of floats."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.runtimes import How, Model, Session, SessionError, open_session

_EXACT_PRODUCTS = {"session.x64quantprecision": "1"}
"""x86 processors without VNNI add pairs of 8-bit products in 16 bits, which saturate: two layers of 16 and 32 lost
17.5 dB by that, and a verdict would depend on the machine."""

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


def open_exactly(model: Model, how: How, *, name: str) -> Session:
    """A session whose sums of int8 products do not saturate, where onnxruntime can: it fails to load some graphs that
    it has rewritten for that. What `how.config` says of it wins.

    Raises:
        SessionError: if the model cannot be read or run.
    """
    exact = replace(how, config=tuple((_EXACT_PRODUCTS | dict(how.config)).items()))
    try:
        return open_session(model, exact, name=name)
    except SessionError:
        return open_session(model, how, name=name)


def _reads_a_value(node: ir.Node) -> bool:
    first = node.inputs[0] if node.inputs else None
    return first is not None and first.const_value is None
