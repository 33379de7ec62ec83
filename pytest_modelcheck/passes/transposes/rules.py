"""Which operators do the same on a tensor whose axes are in another order, and what has to change in them.

The tensor ``v`` that an operator reads is ``Transpose(w, perm)``; the rules rewrite the operator to read ``w``, so that
its output is the transposed one too. Axis ``a`` of ``v`` is axis ``perm[a]`` of ``w``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import reduced_axes
from pytest_modelcheck.shapes.operator_kinds import BROADCASTING, REDUCTIONS, UNARY

Perm = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """How one operator is rewritten.

    Attributes:
        operands: Indices of the inputs that are tensors in the same axis order, broadcasting or of full rank.
        attributes: Attributes to exchange.
        constants: Index -> content of inputs to exchange.
        ends: Whether the output has no axis order to undo: it is the same either way.
    """

    operands: tuple[int, ...]
    attributes: dict[str, int | tuple[int, ...]]
    constants: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]
    ends: bool = False


Rule = Callable[[Rewriter, ir.Node, Perm], Move | str | None]


def move_for(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | str | None:
    """How `node` reads tensors without their Transpose of `perm`; None where it cannot, a reason where it might."""
    rule = RULES.get(node.op_type) if node.domain == "" else None
    return None if rule is None else rule(rewriter, node, perm)


def _elementwise(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | str | None:
    if "axis" in node.attributes or "broadcast" in node.attributes:
        return f"the {node.op_type} behind the Transpose broadcasts as before opset 7"
    return Move(tuple(range(len(node.inputs))), {}, {})


def _first_input(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | None:
    if len(node.outputs) > 1 and any(output.uses() for output in node.outputs[1:]):
        return None
    return Move((0,), {}, {})


def _one_axis(default: int | None) -> Rule:
    def rule(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | str | None:
        flattens = node.op_type.endswith("max") and rewriter.opset() < 13
        axis = integer_attribute(node, "axis", 1 if flattens else default)
        if axis is None:
            return f"the axis of the {node.op_type} behind the Transpose is set by the caller of the function"
        if flattens:
            axis %= len(perm)
            second = perm[axis:]
            # The axes that become the second one may be in any order, but Hardmax takes the first of equal elements.
            if sorted(second) != list(range(axis, len(perm))) or (node.op_type == "Hardmax" and len(second) > 1):
                return f"the {node.op_type} behind the Transpose flattens to two axes before opset 13"
            return Move((0,), {"axis": axis}, {})
        operands = tuple(range(len(node.inputs))) if node.op_type == "Concat" else (0,)
        return Move(operands, {"axis": perm[axis % len(perm)]}, {})

    return rule


def _reduction(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | str | None:
    keep = integer_attribute(node, "keepdims", 1)
    one = integer_attribute(node, "axis", 0)
    given = reduced_axes(node) if node.op_type in REDUCTIONS else None if one is None else (one,)
    if given is None or keep is None:
        return _not_constant(node)
    axes = tuple(axis % len(perm) for axis in given)
    moved = tuple(sorted(perm[axis] for axis in axes))
    if not keep:
        everything = not axes and integer_attribute(node, "noop_with_empty_axes", 0) == 0
        kept = [perm[axis] for axis in range(len(perm)) if axis not in axes and not everything]
        if kept != sorted(kept):
            return None
    if node.op_type not in REDUCTIONS:
        return Move((0,), {"axis": moved[0]}, {}, ends=not keep)
    by_attribute = "axes" in node.attributes
    attributes: dict[str, int | tuple[int, ...]] = {"axes": moved} if by_attribute else {}
    constants = {1: np.array(moved, dtype=np.int64)} if axes and not by_attribute else {}
    return Move((0,), attributes, constants, ends=not keep)


def _pad(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | str | None:
    if len(node.inputs) not in (2, 3):
        return None
    pads = rewriter.constant(node.inputs[1])
    if pads is None or pads.size != 2 * len(perm):
        return "how much is padded behind the Transpose is not constant"
    moved = np.zeros((2, len(perm)), dtype=np.int64)
    moved[:, list(perm)] = pads.reshape(2, -1)
    return Move((0,), {}, {1: moved.reshape(-1)})


def _slice(rewriter: Rewriter, node: ir.Node, perm: Perm) -> Move | str | None:
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return None
    axes = rewriter.constant(node.inputs[3])
    if axes is None:
        return _not_constant(node)
    return Move((0,), {}, {3: np.array([perm[int(axis) % len(perm)] for axis in axes.reshape(-1)], dtype=np.int64)})


def _not_constant(node: ir.Node) -> str:
    return f"the axes of the {node.op_type} behind the Transpose are not constant"


def inverse(perm: Sequence[int]) -> Perm:
    """The order that undoes `perm`."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def composed(first: Sequence[int], second: Sequence[int]) -> Perm:
    """The order of one Transpose that does `first`, then `second`."""
    return tuple(first[axis] for axis in second)


RULES: dict[str, Rule] = {
    **dict.fromkeys(BROADCASTING, _elementwise),
    **dict.fromkeys(UNARY, _first_input),
    **dict.fromkeys((*REDUCTIONS, "ArgMax", "ArgMin"), _reduction),
    "Concat": _one_axis(None),
    "Hardmax": _one_axis(-1),
    "LogSoftmax": _one_axis(-1),
    "PRelu": _elementwise,
    "Pad": _pad,
    "Slice": _slice,
    "Softmax": _one_axis(-1),
    "Split": _one_axis(0),
}
