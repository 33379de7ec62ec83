"""Initial states of LSTM, GRU and RNN that are zero: what these operators begin with where none is given.

``LSTM(x, w, r, b, , zeros, zeros) -> LSTM(x, w, r, b)``

Exporters compute the zeros from the size of the batch: Shape, Gather, Concat, ConstantOfShape or Expand, and a Slice
for each layer. Source: https://onnx.ai/onnx/operators/onnx__LSTM.html, "initial_h (optional)".
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_array
from pytest_modelcheck.rewriting import Rewriter

RULE = "zero state"

_STATES = {
    ("", "GRU"): (5,),
    ("", "LSTM"): (5, 6),
    ("", "RNN"): (5,),
    ("com.microsoft", "DynamicQuantizeLSTM"): (5, 6),
}
"""Domain and operator -> inputs that are initial states."""

_KEEPS_ZEROS = frozenset(
    {"Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
"""Operators of which the first input decides the content."""


def drop_zero_states(rewriter: Rewriter) -> None:
    """Drop every initial state that is certainly zero, and what computed it."""
    rewriter.begin_rule(RULE)
    for node in rewriter.nodes():
        states = _STATES.get((node.domain, node.op_type), ())
        zeros = [index for index in states if _is_zero(rewriter, node, index)]
        for index in zeros:
            rewriter.set_input(node, index, None)
        if zeros:
            rewriter.trim_inputs(node)
            rewriter.edited()


def _is_zero(rewriter: Rewriter, node: ir.Node, index: int) -> bool:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return False
    array = constant_array(value)
    if array is not None and array.any():
        return rewriter.refuse("the initial state is not zero everywhere", node)
    return _holds_zeros(value)


def _holds_zeros(value: ir.Value | None) -> bool:
    pending = [value]
    while pending:
        value = pending.pop()
        if value is None:
            return False
        array = constant_array(value)
        if array is not None:
            if np.any(array):
                return False
            continue
        node = value.producer()
        if node is None or node.domain != "":
            return False
        if node.op_type == "Concat":
            pending += node.inputs
        elif node.op_type in _KEEPS_ZEROS:
            pending.append(node.inputs[0])
        elif node.op_type != "ConstantOfShape" or not _fills_with_zero(node):
            return False
    return True


def _fills_with_zero(node: ir.Node) -> bool:
    attribute = node.attributes.get("value")
    return attribute is None or (not attribute.is_ref() and not np.any(attribute.as_tensor().numpy()))
