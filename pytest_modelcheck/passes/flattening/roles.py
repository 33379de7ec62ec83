"""Which nodes do to a (rows, width) view what they do to (..., width): they only look along the last axis."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import reduced_axes
from pytest_modelcheck.shapes.dims import Dim
from pytest_modelcheck.shapes.operator_kinds import BROADCASTING, REDUCTIONS, UNARY
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_ELEMENTWISE = frozenset({*UNARY, *BROADCASTING, "PRelu"})
_NORMALIZATIONS = frozenset({"LayerNormalization", "RMSNormalization"})
_SOFTMAXES = frozenset({"Softmax", "LogSoftmax"})

Lead = tuple[Dim, ...]
"""The axes before the last one, two or more of them."""


@dataclass(frozen=True, slots=True)
class Role:
    """A node that can work on the flattened view: `operands` are the inputs that have the leading axes `lead`."""

    lead: Lead
    operands: tuple[ir.Value, ...]


def lead_of(shapes: SymbolicShapes, value: ir.Value | None) -> Lead | None:
    """All axes of `value` but the last; None where there are fewer than three or they are not known."""
    shape = shapes.shape(value)
    return None if shape is None or len(shape) < 3 else shape[:-1]


def role_of(rewriter: Rewriter, node: ir.Node) -> Role | None:
    """The role of `node`, None where it looks at more than the last axis or a shape is not known."""
    if node.domain != "" or not node.outputs:
        return None
    lead = lead_of(rewriter.known, node.outputs[0])
    if lead is None or any(lead_of(rewriter.known, output) != lead for output in node.outputs[1:]):
        return None
    if node.op_type in _ELEMENTWISE:
        return _elementwise(rewriter.known, node, lead)
    data = node.inputs[0] if node.inputs else None
    if data is None or lead_of(rewriter.known, data) != lead or not _is_along_the_last(rewriter, node, len(lead)):
        return None
    return Role(lead, (data,))


def _elementwise(shapes: SymbolicShapes, node: ir.Node, lead: Lead) -> Role | None:
    operands = []
    for value in node.inputs:
        if value is None:
            continue
        shape = shapes.shape(value)
        if shape is None:
            return None
        if len(shape) <= 1:
            continue  # broadcast along the last axis, as it is along that of the view
        if shape[:-1] != lead:
            return None
        operands.append(value)
    return Role(lead, tuple(dict.fromkeys(operands))) if operands and len(node.outputs) == 1 else None


def _is_along_the_last(rewriter: Rewriter, node: ir.Node, last: int) -> bool:
    if node.op_type == "MatMul":
        weight = rewriter.known.shape(node.inputs[1])
        return weight is not None and len(weight) == 2
    if node.op_type in _NORMALIZATIONS:
        vectors = all(value is None or len(rewriter.known.shape(value) or (0, 0)) <= 1 for value in node.inputs[1:])
        return vectors and len(node.outputs) == 1 and integer_attribute(node, "axis", -1) in (-1, last)
    if node.op_type in _SOFTMAXES:
        return rewriter.opset() >= 13 and integer_attribute(node, "axis", -1) in (-1, last)
    if node.op_type == "Split":
        return integer_attribute(node, "axis", 0) in (-1, last)
    if node.op_type in REDUCTIONS:
        return integer_attribute(node, "keepdims", 1) == 1 and reduced_axes(node) in ((-1,), (last,))
    return False
