"""What a node gives whatever its inputs hold: sizes, lengths of sequences, whether there is an optional.

1. ``Shape`` and ``Size`` of a value of static shape: `size_of`.
2. ``SequenceLength`` of what SequenceConstruct, SequenceEmpty, SequenceInsert and SequenceErase put together.
3. ``OptionalHasElement`` of an Optional that this graph makes, of a tensor or sequence, and of an omitted input.

Source: the operators' pages, https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.rewriting.matching import produced_by
from pytest_modelcheck.shapes.dims import are_numbers

OF_SHAPES = ("Shape", "Size")

Known = np.ndarray[Any, np.dtype[Any]]


def known_result(node: ir.Node) -> Known | None:
    """The output of `node`; None where it depends on what its inputs hold."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type == "OptionalHasElement":
        has = _has_element(source)
        return None if has is None else np.array(has)
    if source is None:
        return None
    if node.op_type == "SequenceLength":
        length = _length(source)
        return None if length is None else np.array(length, dtype=np.int64)
    return None


def size_of(node: ir.Node, dims: Sequence[object]) -> Known | None:
    """The output of a Shape or Size of a value of these dimensions; None where one of them is not known."""
    start, end = integer_attribute(node, "start", 0), integer_attribute(node, "end", len(dims))
    if node.op_type == "Shape":
        dims = dims[start:end]
    if start is None or end is None or not are_numbers(dims):
        return None
    sizes = np.array([dim for dim in dims if isinstance(dim, int)], dtype=np.int64)
    return sizes if node.op_type == "Shape" else np.array(np.prod(sizes, dtype=np.int64))


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
