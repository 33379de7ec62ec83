"""What one pass did to one model."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pytest_modelcheck.result import Refused


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
        notes: What the user has to know about the result, in the pass's words.
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
    notes: tuple[str, ...] = ()

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
