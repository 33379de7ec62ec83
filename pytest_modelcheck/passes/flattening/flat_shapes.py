"""Reshape targets for leaving the flattened view: constants where one unknown size is left, else computed once."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pytest_modelcheck.passes.flattening.roles import Lead
from pytest_modelcheck.rewriting import Rewriter, Scope
from pytest_modelcheck.shapes.dims import Dim
from pytest_modelcheck.shapes.reshape_target import reshape_target


class Targets:
    """Makes the Reshape targets of one region; sizes that are only known at run time are read off a graph input."""

    def __init__(self, rewriter: Rewriter, scope: Scope, lead: Lead) -> None:
        self._rewriter = rewriter
        self._scope = scope
        self._lead = lead
        self._origin = _input_with(rewriter, lead)
        self._sizes: ir.Value | None = None
        self._made: dict[tuple[int, ...], ir.Value] = {}

    def can_make(self, shape: Sequence[Dim]) -> bool:
        """Whether `make` can; to be asked before anything is edited."""
        if not self.needs_computing(shape):
            return True
        begins = tuple(shape[: len(self._lead)]) == self._lead and self._origin is not None
        return begins and len(shape) > len(self._lead) and self._tail(shape) is not None

    def needs_computing(self, shape: Sequence[Dim]) -> bool:
        """Whether `shape` has no constant target."""
        return reshape_target(None, shape) is None

    def make(self, shape: Sequence[Dim]) -> ir.Value:
        """An int64 vector that reshapes the view to `shape`; equal ones are made once."""
        constant = reshape_target(None, shape)
        if constant is not None:
            return self._rewriter.integers(self._scope, constant, "shape")
        tail = self._tail(shape)
        assert tail is not None, f"no Reshape target for {shape}: ask can_make first"
        if tail not in self._made:
            end = self._rewriter.integers(self._scope, tail, "sizes")
            joined = self._insert("Concat", [self._leading_sizes(), end], {"axis": 0}, len(self._lead) + len(tail))
            self._made[tail] = joined
        return self._made[tail]

    def _tail(self, shape: Sequence[Dim]) -> tuple[int, ...] | None:
        return reshape_target(None, shape[len(self._lead) :])

    def _leading_sizes(self) -> ir.Value:
        origin, count = self._origin, len(self._lead)
        assert origin is not None, "no graph input carries the leading sizes: ask can_make first"
        assert origin.shape is not None
        if self._sizes is not None:
            return self._sizes
        if len(origin.shape) == count or self._rewriter.opset() >= 15:
            part = {} if len(origin.shape) == count else {"start": 0, "end": count}
            self._sizes = self._insert("Shape", [origin], part, count)
        else:
            whole = self._insert("Shape", [origin], {}, len(origin.shape))
            bounds = [self._rewriter.integers(self._scope, [number], "bound") for number in (0, count)]
            self._sizes = self._insert("Slice", [whole, *bounds], {}, count)
        return self._sizes

    def _insert(self, op_type: str, inputs: list[ir.Value], attributes: dict[str, int], length: int) -> ir.Value:
        node = self._rewriter.node(op_type, inputs, attributes, dtype=ir.DataType.INT64, shape=[length])
        self._rewriter.insert_first(self._scope, node)
        return node.outputs[0]


def _input_with(rewriter: Rewriter, lead: Lead) -> ir.Value | None:
    """A graph input whose first axes are `lead`, one with just these axes if there is one."""
    inputs = [
        value for value in rewriter.model.graph.inputs if (rewriter.known.shape(value) or ())[: len(lead)] == lead
    ]
    return min(inputs, key=lambda value: len(rewriter.known.shape(value) or ()), default=None)
