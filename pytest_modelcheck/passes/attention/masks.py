"""Additive masks without the lowest number of their type.

onnxruntime 1.31 takes the lowest finite float in the mask of the standard ``Attention`` for minus infinity: a row that
holds nothing else becomes zeros, where the operator's definition (and the exported model) gives the mean of v. A number
a little above it masks just the same - added to any score it swallows the score - and is left alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.passes.attention.derived import DerivedConstants
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import produced_by, scope_of

_ALMOST = 0.999


def can_do_without_lowest(rewriter: Rewriter, mask: ir.Value) -> bool:
    """Whether `mask` is a constant or a choice between constants, so that its numbers are known."""
    if is_constant(mask):
        return True
    choice = produced_by(mask, "Where")
    return choice is not None and all(is_constant(branch) for branch in choice.inputs[1:])


class SoftMasks:
    """Makes each mask without the lowest number once; layers share it."""

    def __init__(self, rewriter: Rewriter, derived: DerivedConstants) -> None:
        self._rewriter = rewriter
        self._derived = derived
        self._made: dict[ir.Value, ir.Node] = {}

    def get(self, mask: ir.Value, reader: ir.Node) -> tuple[ir.Value, list[ir.Node]]:
        """`mask` without the lowest number, and the nodes to put in for it."""
        scope = scope_of(reader)
        if is_constant(mask):
            return self._constant(scope, mask), []
        choice = produced_by(mask, "Where")
        if choice is None:
            raise ValueError(f"mask {mask.name!r} is no Where: ask can_do_without_lowest first")
        inputs = [choice.inputs[0], *(None if v is None else self._constant(scope, v) for v in choice.inputs[1:])]
        if inputs == list(choice.inputs):
            return mask, []
        made = self._made.get(mask)
        if made is not None and made.graph is scope:
            return made.outputs[0], []
        made = self._made[mask] = self._rewriter.node("Where", inputs, like=mask)
        return made.outputs[0], [made]

    def _constant(self, scope: ir.Graph | ir.Function, value: ir.Value) -> ir.Value:
        array = self._rewriter.constant(value)
        if array is None or not np.any(array == _lowest(array)):
            return value
        softened = np.where(array == _lowest(array), _lowest(array) * array.dtype.type(_ALMOST), array)
        softened = softened.astype(array.dtype)
        return self._derived.get(scope, ("above lowest", value), partial(np.asarray, softened), value.name or "mask")


def _lowest(array: np.ndarray[Any, Any]) -> Any:
    return ir.DataType.from_numpy(array.dtype).min
