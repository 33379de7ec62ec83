"""The owners of one model's nodes, with a coverage that can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.owners import Owner

Strategy = Literal["precise", "broad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyReport:
    """The owners of one model's nodes.

    Coverage is over the compute nodes (`shape_nodes.py` has the rule): a share that the root fallback never enters.

    Attributes:
        kinds: ``direct``, ``inherited``, ``root`` and ``none`` -> number of compute nodes.
        plumbing: Number of nodes that only compute shapes.
        constants: Number of Constant nodes.
        modules_ran: Paths of the modules that ran and whose work depends on an input and reaches an output, in order of
            first call; ``()`` where there is no torch module to run. The modules that ran and need no node are listed
            in `excused`.
        modules_covered: Those of `modules_ran` that own a node, or hold a module that does.
        modules_uncovered: The others.
        excused: Module path -> why it needs no node: ``"passed its input through"`` (Dropout in eval mode,
            `nn.Identity`), ``"its result is not used"``, ``"its result depends on no input"``.
        owners: Value name -> owner of the node that makes it; every named output of every node, Constants too.
        evidence: What the compute nodes' owners were read from (`Owner.how`) -> number of compute nodes.
        strategy: ``precise`` (only what the exporter says) or ``broad`` (and what follows from it).
        why: Why this strategy, in one clause.
        reason: Why nothing is known for a fact, in one sentence; empty where something is.
        calls: The module tree and its calls; None for a model that has no torch module.
    """

    kinds: Mapping[str, int]
    plumbing: int
    constants: int
    modules_ran: tuple[str, ...] = ()
    modules_covered: tuple[str, ...] = ()
    modules_uncovered: tuple[str, ...] = ()
    excused: Mapping[str, str] = field(default_factory=dict)
    owners: Mapping[str, Owner] = field(default_factory=dict, repr=False)
    evidence: Mapping[str, int] = field(default_factory=dict)
    strategy: Strategy = "broad"
    why: str = ""
    reason: str = ""
    calls: ModuleCalls | None = field(default=None, repr=False)

    @property
    def compute_nodes(self) -> int:
        """The denominator of the coverage."""
        return sum(self.kinds.values())

    @property
    def coverage(self) -> float:
        """(direct + inherited) / compute nodes, from 0 to 1; 0 where there are none."""
        covered = self.kinds["direct"] + self.kinds["inherited"]
        return covered / self.compute_nodes if self.compute_nodes else 0.0

    @property
    def module_coverage(self) -> float:
        """`modules_covered` / `modules_ran`, from 0 to 1; 0 where no module is known to have run."""
        return len(self.modules_covered) / len(self.modules_ran) if self.modules_ran else 0.0

    def owner(self, value_name: str) -> Owner | None:
        """The owner of the node that makes a value; None where there is no such value, or nobody owns it.

        The second value of a name that several scopes use is ``name#2`` (`value_names.named_outputs`).
        """
        return self.owners.get(value_name)
