"""Running passes over a model, and the record of what each one really did.

A pass is one of ours (`passes.Pass`), any `onnx_ir.passes.PassBase`, or any function from `onnx.ModelProto` to
`onnx.ModelProto`. What a pass claims (its `modified` flag) and what changed (the graph, compared) are two facts.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.graph.compare import graphs_equal
from pytest_modelcheck.graph.validity import check_model, infer_shapes
from pytest_modelcheck.passes import PASSES, Pass, Target
from pytest_modelcheck.result import Refused

AnyPass = ir.passes.PassBase | Callable[[onnx.ModelProto], onnx.ModelProto]


class PassStatus(StrEnum):
    """`FIRED`: the graph changed. `NO_OP`: nothing to do. `REFUSED`: candidates, all left alone. `ERROR`: it raised."""

    FIRED = "fired"
    NO_OP = "no_op"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """What one pass did to one model.

    Attributes:
        name: Column name of the matrix.
        status: See `PassStatus`.
        claimed: What the pass says: whether it modified the model.
        changed: Whether the graph before and after differ (operators, connections, attributes, initializers).
        ops_before, ops_after: Operator -> node count, Constants left out.
        refusals: Rewrites considered and not made, with their reasons.
        seconds: Wall time of the pass itself, checks left out.
        error: For `ERROR`: what went wrong, naming the node where known; else None.
    """

    name: str
    status: PassStatus
    claimed: bool
    changed: bool
    ops_before: dict[str, int]
    ops_after: dict[str, int]
    refusals: tuple[Refused, ...] = ()
    seconds: float = 0.0
    error: str | None = None

    @property
    def delta(self) -> int:
        """Signed change of the node count: -72 means 72 nodes fewer."""
        return sum(self.ops_after.values()) - sum(self.ops_before.values())

    @property
    def ops_delta(self) -> dict[str, int]:
        """Operator -> signed change, unchanged operators left out."""
        ops = sorted(self.ops_before.keys() | self.ops_after.keys())
        deltas = {op: self.ops_after.get(op, 0) - self.ops_before.get(op, 0) for op in ops}
        return {op: delta for op, delta in deltas.items() if delta}
