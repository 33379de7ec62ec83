"""What a partition gives: the fused subgraphs, and the figures about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """Operators that run as one kernel.

    Attributes:
        ops: Operator labels in graph order, e.g. ``("linear", "gelu")``.
        owner: Path of the innermost module around all of them.
        call: Which call of that module, for modules that are called several times.
        pattern: Names of the rules that made it; ``"qkv"`` for grouped projections, ``"single"`` for one operator.
        boundary: Why it ends where it does: ``"fork"`` (its result is read more than once), ``"join"`` (the one reader
            went with another of its inputs), ``"grouped"`` (the one reader is a grouped projection), ``"output"``, or
            ``"no rule for softmax -> matmul"``.
        sources: What it reads from outside: the numbers of other subgraphs, in order of first use.
        form: Its operators as a formula, e.g. ``"(view > transpose, view) > matmul > softmax"``; ``"linear | linear"``
            for grouped projections.
        members: The places of its operators among the compute nodes of the graph, in the order of `ops`.
        flops: Floating-point operations, as torch's flop counter counts them (matmuls and convolutions, two per
            multiply-add); None where a size is not known.
        internal_bytes: Bytes of the results that are read inside only, so that a fused kernel need not write them;
            views count 0, and so does a result that is read outside. None where a size is not known.
    """

    ops: tuple[str, ...]
    owner: str
    pattern: str
    boundary: str
    call: int = 0
    sources: tuple[int, ...] = ()
    members: tuple[int, ...] = ()
    form: str = ""
    flops: int | None = None
    internal_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionReport:
    """A captured graph, partitioned.

    Attributes:
        name: Name of the model case.
        nodes: Number of compute nodes; each is in exactly one subgraph.
        bookkeeping: Number of nodes that compute nothing (getitem, size, ...), counted apart.
        subgraphs: In the order of their first operator.
        attention_layers: How many softmax(Q K^T) V the data flow has.
        qkv: How many of them have their projections grouped; a packed projection counts, and so do two of the three,
            as in cross-attention.
        unfused: (owner, reason) of each attention layer that has not.
        apart: (owner, ``"Q | K V"``) of each that has only two of the three grouped.
        outputs: Which subgraphs make the outputs, in order; -1 for an input that is handed through.
        opaque_nodes: Compute nodes of the same model with attention left whole; None where that was not asked.
        baseline_subgraphs: Subgraphs of the same graph without the attention rules; None where that was not asked.
        difference: What writing attention out changed in the outputs: max abs difference / max(1, max abs); None where
            it was not compared.
        not_compared: Why it was not, where it should have been.
    """

    name: str
    nodes: int
    bookkeeping: int
    subgraphs: tuple[Subgraph, ...] = field(repr=False)
    attention_layers: int
    qkv: int
    unfused: tuple[tuple[str, str], ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    outputs: tuple[int, ...] = ()
    opaque_nodes: int | None = None
    baseline_subgraphs: int | None = None
    difference: float | None = None
    not_compared: str = ""

    @property
    def all_three(self) -> int:
        """How many attention layers have Q, K and V in one group."""
        return self.qkv - len(self.apart)

    @property
    def mean_size(self) -> float:
        """Compute nodes per subgraph; 0 for an empty graph."""
        return self.nodes / len(self.subgraphs) if self.subgraphs else 0.0

    @property
    def max_size(self) -> int:
        """Compute nodes of the largest subgraph."""
        return max((len(subgraph.ops) for subgraph in self.subgraphs), default=0)

    @property
    def gain(self) -> float | None:
        """Mean size over the mean size without the attention rules, minus 1 (0.3 is +30 %)."""
        if self.baseline_subgraphs is None or not self.subgraphs:
            return None
        return self.baseline_subgraphs / len(self.subgraphs) - 1

    @property
    def flops(self) -> int | None:
        """Floating-point operations of the whole graph; None where a size is not known."""
        return total(subgraph.flops for subgraph in self.subgraphs)

    @property
    def internal_bytes(self) -> int | None:
        """Bytes that no kernel need write, over all subgraphs; None where a size is not known."""
        return total(subgraph.internal_bytes for subgraph in self.subgraphs)

    @property
    def pattern_counts(self) -> dict[str, int]:
        """Pattern -> how many subgraphs it made, the most frequent first."""
        counted = Counter(subgraph.pattern for subgraph in self.subgraphs)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    @property
    def boundary_counts(self) -> dict[str, int]:
        """Boundary reason -> how many subgraphs end for it, the most frequent first."""
        counted = Counter(subgraph.boundary for subgraph in self.subgraphs)
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def total(figures: Iterable[int | None]) -> int | None:
    """The sum; None where one figure is not known."""
    added = 0
    for figure in figures:
        if figure is None:
            return None
        added += figure
    return added
