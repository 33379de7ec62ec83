"""The two strategies, and which one fits a model.

- ``precise``: only what the exporter says (`direct`). What it does not say has no owner.
- ``broad``: that, and what follows from it (`inherited`); `owners.inherit_owners` has the rules.
- ``auto``: the one that `recommend` recommends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.hierarchy.report import HierarchyReport, Strategy

StrategyName = Literal["auto", "precise", "broad"]
STRATEGIES: tuple[StrategyName, ...] = ("auto", "precise", "broad")


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A strategy, and why in one clause."""

    strategy: Strategy
    why: str


def check_strategy(strategy: str) -> None:
    """Raises OptionError, naming the strategies, if `strategy` is none."""
    if strategy not in STRATEGIES:
        raise OptionError(f"strategy {strategy!r} is unknown; choose one of {', '.join(STRATEGIES)}")


def recommend(precise: HierarchyReport, broad: HierarchyReport, *, unnamed_plumbing: int = 0) -> Recommendation:
    """``precise`` where deduction would find nothing more, else ``broad``.

    Args:
        precise, broad: What the two strategies find on one model.
        unnamed_plumbing: How many nodes that only compute shapes have no direct owner.
    """
    direct, nodes = precise.kinds["direct"], broad.compute_nodes
    deduced = broad.kinds["direct"] + broad.kinds["inherited"] - direct
    modules = len(broad.modules_covered) - len(precise.modules_covered)
    if not direct:
        found = f"{deduced} of {nodes} compute nodes get an owner by deduction" if deduced else "and nothing follows"
        return Recommendation("broad", f"no node names its module; {found}")
    adds = [f"{deduced} of the other {nodes - direct} nodes"] if direct < nodes else []
    adds += [f"{modules} modules that were folded into another's node"] if modules else []
    adds += [f"{unnamed_plumbing} nodes that only compute shapes"] if unnamed_plumbing else []
    named = f"the exporter names {direct} of {nodes} compute nodes"
    if adds:
        return Recommendation("broad", f"{named}; deduction finds {', '.join(adds)}")
    return Recommendation("precise", f"{named}; deduction would find nothing more")
