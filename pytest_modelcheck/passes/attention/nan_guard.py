"""The NaN guard: ``Where(IsNaN(softmax(s)), 0, softmax(s))`` is ``softmax(s)`` where no row of s can be empty.

A row is empty where every key is masked by -inf; its softmax is 0/0. So the guard is idle

1. without a mask,
2. with masks that hold no -inf (a mask of the lowest finite number leaves a finite row),
3. with one constant mask that leaves a finite number in each row, beside masks that hold no -inf.

The scores themselves are taken to be finite: q and k that are not make the exported model wrong as well.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_array, is_constant
from pytest_modelcheck.passes.attention.search import Attention
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import produced_by

_MOVES = ("Expand", "Unsqueeze", "Squeeze", "Reshape", "Transpose", "Slice", "Gather", "Identity")
_MAX_DEPTH = 12


def try_drop(rewriter: Rewriter, attention: Attention) -> bool:
    """Drop the guard of `attention` where it is idle; else say why not."""
    if attention.guard is None:
        return False
    test, choice = attention.guard
    if may_leave_an_empty_row(rewriter, attention):
        return rewriter.refuse("the mask may leave an empty row", choice)
    weights = attention.softmax.outputs[0]
    return rewriter.replace([test, choice], [], {choice.outputs[0]: weights})


def may_leave_an_empty_row(rewriter: Rewriter, attention: Attention) -> bool:
    """Whether none of rules 1 to 3 excludes a row of keys that are all masked by -inf."""
    may_empty = []
    for node, mask in attention.masks:
        if node.op_type == "Where":
            return True  # what a condition selects is not followed
        if not _is_finite(rewriter, mask, _MAX_DEPTH):
            may_empty.append(mask)
    return len(may_empty) > 1 or (len(may_empty) == 1 and not _leaves_each_row(rewriter, may_empty[0]))


def _is_finite(rewriter: Rewriter, value: ir.Value | None, depth: int) -> bool:
    """Whether every element of `value` is provably a finite number."""
    if value is None or depth == 0:
        return False
    constant = rewriter.constant(value)
    if constant is not None:
        return bool(np.all(np.isfinite(constant.astype(np.float64))))
    if (choice := produced_by(value, "Where")) is not None:
        return all(_is_finite(rewriter, branch, depth - 1) for branch in choice.inputs[1:])
    if (moved := produced_by(value, *_MOVES)) is not None:
        return _is_finite(rewriter, moved.inputs[0], depth - 1)
    if (joined := produced_by(value, "Concat")) is not None:
        return all(_is_finite(rewriter, part, depth - 1) for part in joined.inputs)
    if (cast := produced_by(value, "Cast")) is not None and cast.inputs[0] is not None:
        return cast.inputs[0].dtype == ir.DataType.BOOL
    if (product := produced_by(value, "Mul", "Sub")) is not None:
        # Of zeros and ones, and at most one constant: (1 - mask) * lowest. Anything else could overflow.
        small = [_is_at_most_one(operand) for operand in product.inputs]
        known = [is_constant(operand) for operand in product.inputs]
        return any(small) and all(
            (a or b) and _is_finite(rewriter, operand, depth - 1)
            for a, b, operand in zip(small, known, product.inputs, strict=True)
        )
    return False


def _is_at_most_one(value: ir.Value | None) -> bool:
    """Whether `value` is made of zeros and ones only: a Cast of booleans, or 1 minus such."""
    cast = produced_by(value, "Cast")
    if cast is not None and cast.inputs[0] is not None:
        return cast.inputs[0].dtype == ir.DataType.BOOL
    difference = produced_by(value, "Sub")
    if difference is None:
        return False
    one = constant_array(difference.inputs[0])
    return one is not None and bool(np.all(one == 1)) and _is_at_most_one(difference.inputs[1])


def _leaves_each_row(rewriter: Rewriter, mask: ir.Value) -> bool:
    """Whether `mask` is a constant, or a Where with a constant condition, with a finite number in each row of keys."""
    constant = rewriter.constant(mask)
    choice = produced_by(mask, "Where")
    if constant is None and choice is not None:
        condition, kept, masked = (rewriter.constant(part) for part in choice.inputs)
        if condition is not None and kept is not None and masked is not None:
            constant = np.asarray(np.where(condition, kept, masked))
    if constant is None or constant.ndim == 0 or np.any(np.isnan(constant)) or np.any(np.isposinf(constant)):
        return False
    return bool(np.all(np.isfinite(constant).any(axis=-1)))
