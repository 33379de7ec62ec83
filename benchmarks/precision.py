"""How often a deduced owner is the true one: known owners are hidden, deduced again, and compared."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.owners import OwnerKind, direct_owners, inherit_owners
from pytest_modelcheck.hierarchy.report import Strategy
from pytest_modelcheck.hierarchy.scopes import Scopes
from pytest_modelcheck.hierarchy.shape_nodes import node_roles


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What became of hidden owners.

    Attributes:
        hidden: How many direct owners of compute nodes were hidden, over all repetitions.
        deduced: For how many of those nodes the strategy named an owner; the root fallback names none.
        right: How many of the named owners were the hidden ones. A node in which the exporter merged two modules' work
            has two true owners.
        rules: Rule (`Owner.how`) -> (deduced by it, right).
    """

    hidden: int
    deduced: int
    right: int
    rules: Mapping[str, tuple[int, int]]

    @property
    def precision(self) -> float:
        """right / deduced, from 0 to 1; NaN where nothing was deduced: nothing said is not right."""
        return self.right / self.deduced if self.deduced else float("nan")

    @property
    def recall(self) -> float:
        """deduced / hidden, from 0 to 1; NaN where nothing was hidden."""
        return self.deduced / self.hidden if self.hidden else float("nan")


def measure_precision(
    model: ir.Model, calls: ModuleCalls, *, share: float, seeds: Sequence[int] = (0, 1, 2), strategy: Strategy = "broad"
) -> Precision:
    """Hide each direct owner of a compute node with probability `share`, once per seed, and deduce it again.

    ``precise`` deduces nothing, so it is never wrong and finds nothing back.
    """
    direct = direct_owners(model, Scopes.of(calls))
    truth = inherit_owners(model, direct, calls)
    compute = [node for node in node_roles(model).compute if node in direct]
    hidden_nodes, deduced, right = 0, Counter[str](), Counter[str]()
    for seed in seeds:
        draw = random.Random(seed)
        hidden = [node for node in compute if draw.random() < share]
        gone = set(hidden)
        known = {node: owner for node, owner in direct.items() if node not in gone}
        found = inherit_owners(model, known, calls) if strategy == "broad" else known
        hidden_nodes += len(hidden)
        for node in hidden:
            owner = found.get(node)
            if owner is not None and owner.kind is OwnerKind.INHERITED:
                deduced[owner.how] += 1
                right[owner.how] += owner.path in (truth[node].path, *truth[node].others)
    return Precision(
        hidden=hidden_nodes,
        deduced=deduced.total(),
        right=right.total(),
        rules={rule: (count, right[rule]) for rule, count in sorted(deduced.items())},
    )
