"""``eliminate_identity_ops``: remove nodes that hand on their input unchanged.

1. ``Identity``; ``Dropout`` in inference mode, or of ratio 0, whose mask nobody reads; Sum, Max, Min, Mean of one
   input; Concat of one that has elements.
2. ``Cast`` and ``CastLike`` to the type that the input has; a Cast after a lossless Cast reads the first input, as does
   one to fewer bits of an integer, and for target ``onnxruntime`` one to fewer numbers.
3. ``Reshape``, ``Expand``, ``Slice``, ``Flatten``, ``Tile``, ``Pad`` that leave the shape as it is (dynamic axes too);
   ``Transpose`` with the axes in order.
4. Add or Sub of 0, Mul or Div of 1, Pow of 1, And of true, Or of false, where broadcasting does not change the shape.
   Exactly 0 and 1: an Add of a small epsilon is not one of them.
5. ``Relu(Relu(x))``, and Abs, Ceil, Floor, Round, Sign of themselves; ``Not(Not(x))`` and ``Neg(Neg(x))``.
6. ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceProd over axes of one element (a Squeeze where these do not stay),
   over none, or of a scalar; a Where whose condition is constant, or between a value and itself.
7. An initial state of LSTM, GRU or RNN that is zero (zero_states.py).
8. Slice of a Slice, Concat of a Concat, and sequences that are taken apart again (nested_ops.py).
9. Slices that make up an axis are one Split (slices_to_split.py).

The output's name never changes: where a graph output would have to be named by a graph input, a constant or another
output, the node stays. Sources: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.constants import constant_tensor, is_constant
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.passes.nested_ops import MERGES, Found, element_of_optional, element_of_sequence, merge_nested
from pytest_modelcheck.passes.slices_to_split import SPLIT, split_instead_of_slices
from pytest_modelcheck.passes.zero_states import RULE, drop_zero_states
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import permutation, produced_by, reduced_axes, scope_of
from pytest_modelcheck.shapes.broadcast import broadcasts_to
from pytest_modelcheck.shapes.slices import keeps_everything

Rule = Callable[[Rewriter, ir.Node], Found]


def _only_input(rewriter: Rewriter, node: ir.Node) -> Found:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _concat(rewriter: Rewriter, node: ir.Node) -> Found:
    """Operands without elements go, such as the past of a first step."""
    axis = integer_attribute(node, "axis", 1)
    full = [value for value in node.inputs if not _is_empty_along(rewriter.known.shape(value), axis or 0)]
    if len(full) < 2 or len(full) == len(node.inputs):
        return node.inputs[0] if len(node.inputs) == 1 else full[0] if len(full) == 1 else None
    shorter = rewriter.node("Concat", full, {"axis": axis}, like=node.outputs[0])
    rewriter.replace([node], [shorter], {node.outputs[0]: shorter.outputs[0]})
    return None


def _is_empty_along(shape: Sequence[object] | None, axis: int) -> bool:
    return shape is not None and -len(shape) <= axis < len(shape) and shape[axis] == 0


def _dropout(rewriter: Rewriter, node: ir.Node) -> Found:
    if len(node.outputs) > 1 and (node.outputs[1].uses() or node.outputs[1].is_graph_output()):
        return "the mask of the Dropout is read"
    ratio = node.inputs[1] if len(node.inputs) > 1 else None
    if ratio is not None and is_constant(ratio) and _is_all(ratio, 0):
        return node.inputs[0]
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is not None and not is_constant(mode):
        return "whether the Dropout is in training mode is not known"
    tests = rewriter.opset() >= 7 or integer_attribute(node, "is_test", 0) == 1
    if not tests or (mode is not None and not _is_all(mode, False)):
        return "the Dropout is in training mode"
    return node.inputs[0]


def _cast(rewriter: Rewriter, node: ir.Node) -> Found:
    source = node.inputs[0]
    to = integer_attribute(node, "to", None)
    if source is None or to is None or source.dtype is None:
        return None
    if source.dtype == to:
        return source
    inner = produced_by(source, "Cast")
    origin = None if inner is None else inner.inputs[0]
    if origin is None or origin.dtype is None or to == ir.DataType.STRING:
        return None
    alone = read_once(source)
    if origin.dtype == ir.DataType.BOOL and not alone:  # the other reader may make do with the narrow type
        return None
    alone &= rewriter.target == "onnxruntime"
    if not _loses_nothing(origin.dtype, source.dtype, ir.DataType(to), alone=alone):
        return None
    rewriter.begin_rule("Cast of a Cast")
    if origin.dtype == to:
        return origin
    rewriter.set_input(node, 0, origin)
    rewriter.edited()
    return None


def _loses_nothing(origin: ir.DataType, between: ir.DataType, to: ir.DataType, *, alone: bool) -> bool:
    """Whether a Cast of `origin` to `to` gives what it gives with a Cast to `between` before it.

    Args:
        alone: onnxruntime computes both, and nothing else reads what is between. It does not make the wider one of two
            numbers then, whatever its level (1.31): what is too large is lost once.
    """
    if between.name in _EXACT.get(origin, ()):
        return True
    if origin.is_integer() and between.is_integer() and to.is_integer():  # the low bits are kept
        return to.itemsize <= between.itemsize
    return alone and to != ir.DataType.BOOL and between.name in _EXACT.get(to, ())


def _cast_like(rewriter: Rewriter, node: ir.Node) -> Found:
    source, like = node.inputs
    return source if source is not None and like is not None and source.dtype == like.dtype is not None else None


_EXACT = {
    ir.DataType.BOOL: ("INT32", "INT64", "FLOAT", "DOUBLE", "UINT8", "INT8", "FLOAT16"),
    ir.DataType.INT8: ("INT16", "INT32", "INT64", "FLOAT16", "FLOAT", "DOUBLE"),
    ir.DataType.UINT8: ("INT16", "INT32", "INT64", "FLOAT16", "FLOAT", "DOUBLE"),
    ir.DataType.INT16: ("INT32", "INT64", "FLOAT", "DOUBLE"),
    ir.DataType.INT32: ("INT64", "DOUBLE"),
    ir.DataType.FLOAT16: ("FLOAT", "DOUBLE"),
    ir.DataType.BFLOAT16: ("FLOAT", "DOUBLE"),
    ir.DataType.FLOAT: ("DOUBLE",),
}
"""Type -> types that hold each of its values exactly."""


def _same_shape(rewriter: Rewriter, node: ir.Node) -> Found:
    source = node.inputs[0]
    shape = rewriter.known.shape(node.outputs[0])
    return source if shape is not None and rewriter.known.shape(source) == shape else None


def _transpose(rewriter: Rewriter, node: ir.Node) -> Found:
    axes = permutation(node)
    return node.inputs[0] if axes is not None and list(axes) == sorted(axes) else None


def _window(rewriter: Rewriter, node: ir.Node) -> Found:
    return node.inputs[0] if keeps_everything(node, rewriter.known) else None


def _tile(rewriter: Rewriter, node: ir.Node) -> Found:
    repeats = rewriter.known.constant_content(node.inputs[1]) if len(node.inputs) == 2 else None
    return node.inputs[0] if repeats is not None and all(repeat == 1 for repeat in repeats) else None


def _neutral(element: float, *, commutes: bool) -> Rule:
    def rule(rewriter: Rewriter, node: ir.Node) -> Found:
        if rewriter.opset() < 7:  # broadcasting had different rules
            return None
        left, right = node.inputs
        for source, constant in ((left, right), (right, left)) if commutes else ((left, right),):
            if source is None or not _is_all(constant, element):
                continue
            if source.dtype is not None and source.dtype != node.outputs[0].dtype and node.op_type == "Pow":
                continue
            if broadcasts_to(rewriter.known.shape(constant), rewriter.known.shape(source)):
                return source
            return f"its constant of {element:g} may change the shape by broadcasting"
        return None

    return rule


def _is_all(value: ir.Value | None, element: float) -> bool:
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.size == 0:
        return False
    array = tensor.numpy().reshape(-1)
    return bool(array[0] == element) and bool(np.all(array == element))


def _reduced_ones(rewriter: Rewriter, node: ir.Node) -> Found:
    source, axes = node.inputs[0], reduced_axes(node)
    shape = rewriter.known.shape(source)
    if shape == () or (axes == () and integer_attribute(node, "noop_with_empty_axes", 0) == 1):
        return source
    if shape is None or axes is None:
        return None
    along = axes or range(len(shape))
    if not all(-len(shape) <= axis < len(shape) and shape[axis] == 1 for axis in along):
        return None
    kept = integer_attribute(node, "keepdims", 1)
    if kept == 0:  # moves no data, and may become one with what reshapes around it
        given = {"axes": list(along)} if rewriter.opset() < 13 else {}
        inputs = [source] if given else [source, rewriter.integers(scope_of(node), list(along), "axes")]
        squeeze = rewriter.node("Squeeze", inputs, given, like=node.outputs[0])
        rewriter.replace([node], [squeeze], {node.outputs[0]: squeeze.outputs[0]})
    return source if kept == 1 else None


def _where(rewriter: Rewriter, node: ir.Node) -> Found:
    condition, yes, no = node.inputs
    chosen = yes if _is_all(condition, True) else no
    if chosen is not yes and not _is_all(condition, False):
        return None
    shape = rewriter.known.shape(node.outputs[0])
    if shape is None or rewriter.known.shape(chosen) != shape:
        return "its operands may change the shape by broadcasting"
    return chosen


def _idempotent(rewriter: Rewriter, node: ir.Node) -> Found:
    return None if produced_by(node.inputs[0], node.op_type) is None else node.inputs[0]


def _involution(rewriter: Rewriter, node: ir.Node) -> Found:
    inner = produced_by(node.inputs[0], node.op_type)
    return None if inner is None else inner.inputs[0]


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Abs", "Ceil", "Floor", "Relu", "Round", "Sign"), _idempotent),
    **dict.fromkeys(("Neg", "Not"), _involution),
    **dict.fromkeys(("Identity", "Max", "Mean", "Min", "Sum"), _only_input),
    **dict.fromkeys(("Expand", "Flatten", "Reshape"), _same_shape),
    **dict.fromkeys(("Pad", "Slice"), _window),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"), _reduced_ones),
    "Add": _neutral(0, commutes=True),
    "And": _neutral(True, commutes=True),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Concat": _concat,
    "Div": _neutral(1, commutes=False),
    "Dropout": _dropout,
    "Mul": _neutral(1, commutes=True),
    "OptionalGetElement": element_of_optional,
    "Or": _neutral(False, commutes=True),
    "Pow": _neutral(1, commutes=False),
    "SequenceAt": element_of_sequence,
    "Sub": _neutral(0, commutes=False),
    "Tile": _tile,
    "Transpose": _transpose,
    "Where": _where,
}


class EliminateIdentityOps(Pass):
    name = "eliminate_identity_ops"
    rules = (*_RULES, "Cast of a Cast", RULE, *MERGES, SPLIT)

    def rewrite(self, rewriter: Rewriter) -> None:
        rewriter.known.refresh()
        for node in rewriter.nodes(*_RULES):
            rewriter.begin_rule(node.op_type)
            source = _RULES[node.op_type](rewriter, node)
            if isinstance(source, str):
                rewriter.refuse(source, node)
            elif source is not None and source is not node.outputs[0]:
                rewriter.replace([node], [], {node.outputs[0]: source})
        drop_zero_states(rewriter)
        merge_nested(rewriter)
        split_instead_of_slices(rewriter)
