"""What a node gives whatever its inputs hold: lengths of sequences, whether there is an optional.

1. ``SequenceLength`` of what SequenceConstruct, SequenceEmpty, SequenceInsert and SequenceErase put together.
2. ``OptionalHasElement`` of an Optional that this graph makes, of a tensor or sequence, and of an omitted input.

Source: the operators' pages, https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.rewriting.matching import produced_by

OF_SHAPES = ("Shape", "Size")

Known = np.ndarray[Any, np.dtype[Any]]


def known_result(node: ir.Node) -> Known | None:
    """The output of `node`; None where it depends on what its inputs hold."""
    source = node.inputs[0] if node.inputs else None
    found: bool | int | None = None
    if node.op_type == "OptionalHasElement":
        found = _has_element(source)
    elif node.op_type == "SequenceLength" and source is not None:
        found = _length(source)
    return None if found is None else np.array(found)


def _length(sequence: ir.Value) -> int | None:
    more = 0
    while (made := sequence.producer()) is not None and made.domain == "":
        if made.op_type == "SequenceConstruct":
            return len(made.inputs) + more
        if made.op_type == "SequenceEmpty":
            return more
        if made.op_type not in ("SequenceInsert", "SequenceErase") or (before := made.inputs[0]) is None:
            return None
        more += 1 if made.op_type == "SequenceInsert" else -1
        sequence = before
    return None


def _has_element(value: ir.Value | None) -> bool | None:
    if value is None:
        return False
    made = produced_by(value, "Optional")
    if made is not None:
        return any(source is not None for source in made.inputs)
    return True if isinstance(value.type, ir.TensorType | ir.SequenceType) else None
