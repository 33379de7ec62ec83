"""`hierarchy`: who owns the nodes of an exported model, by everything that is known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.owners import (
    Owned,
    Owner,
    OwnerKind,
    direct_owners,
    inherit_owners,
    named_owners,
    number_calls,
)
from pytest_modelcheck.hierarchy.report import HierarchyReport, Strategy
from pytest_modelcheck.hierarchy.scopes import Scopes
from pytest_modelcheck.hierarchy.shape_nodes import NodeRoles, node_roles
from pytest_modelcheck.hierarchy.stamps import has_stamps, stamped_owners
from pytest_modelcheck.hierarchy.strategies import StrategyName, check_strategy, recommend
from pytest_modelcheck.hierarchy.value_names import named_outputs
from pytest_modelcheck.model_case import ModelCase


class ExportedModel(Protocol):
    """What `hierarchy` needs of an export: see `export.Exported`."""

    @property
    def case(self) -> ModelCase: ...

    @property
    def exporter(self) -> str: ...

    @property
    def model(self) -> ir.Model: ...


def hierarchy(
    exported: ExportedModel,
    *,
    model: ir.Model | None = None,
    calls: ModuleCalls | None = None,
    before: Owned | None = None,
    strategy: StrategyName = "auto",
) -> HierarchyReport:
    """Who owns the nodes of an exported model, or of what passes made of it.

    Args:
        exported: The export; its case tells the module tree.
        model: Report on this version of the model (optimized, stamped before) instead of the exported one.
        calls: From `modules_that_ran`, if it is at hand; else the module is built and run once.
        before: The report on the model that `model` was made of by an optimizer that drops metadata.
        strategy: ``precise``, ``broad``, or ``auto`` for the one that `recommend` recommends.

    Raises:
        ModelCaseError: if the module must be run and cannot be.
        OptionError: on an unknown strategy.
    """
    if calls is None and exported.case.build is not None:
        from pytest_modelcheck.hierarchy.recorded_calls import case_calls  # torch: no file needs it

        calls = case_calls(exported.case)
    return hierarchy_of_model(exported.model if model is None else model, calls, before=before, strategy=strategy)


def hierarchy_of_model(
    model: ir.Model,
    calls: ModuleCalls | None = None,
    *,
    before: Owned | None = None,
    strategy: StrategyName = "auto",
) -> HierarchyReport:
    """The same for a plain model.

    Owners that were stamped count as they were stamped; without stamps, what the exporter says counts. With `before`,
    nodes that have neither are re-attached by the names of their values. The rest is deduced, if the strategy is not
    ``precise``.

    Raises:
        OptionError: on an unknown strategy.
    """
    known = stamped_owners(model) if has_stamps(model) else direct_owners(model, Scopes.of(calls, all_nodes(model)))
    if before is not None:
        known = named_owners(model, before.owners) | known
    return report_on(model, calls, known, strategy)


def report_on(
    model: ir.Model, calls: ModuleCalls | None, known: Mapping[ir.Node, Owner], strategy: StrategyName
) -> HierarchyReport:
    """The report on nodes of which some owners are known, by whatever means.

    Raises:
        OptionError: on an unknown strategy.
    """
    check_strategy(strategy)
    roles = node_roles(model)
    direct = {node: owner for node, owner in known.items() if owner.kind is OwnerKind.DIRECT}
    reason = _reason(roles.compute, known)
    if strategy == "precise":
        return _report(model, calls, roles, direct, strategy="precise", why="asked for", reason=reason)
    broad = inherit_owners(model, known, calls)
    if strategy == "broad":
        return _report(model, calls, roles, broad, strategy="broad", why="asked for", reason=reason)
    reports = {
        "precise": _report(model, calls, roles, direct, strategy="precise", why="", reason=reason),
        "broad": _report(model, calls, roles, broad, strategy="broad", why="", reason=reason),
    }
    unnamed = sum(1 for node in roles.plumbing if node not in direct)
    recommended = recommend(reports["precise"], reports["broad"], unnamed_plumbing=unnamed)
    return replace(reports[recommended.strategy], why=recommended.why)


def _report(
    model: ir.Model,
    calls: ModuleCalls | None,
    roles: NodeRoles,
    owners: dict[ir.Node, Owner],
    *,
    strategy: Strategy,
    why: str,
    reason: str,
) -> HierarchyReport:
    if calls is not None:
        number_calls(model, owners, calls)
    kinds = Counter(owners[node].kind if node in owners else OwnerKind.NONE for node in roles.compute)
    ran = () if calls is None else calls.accountable
    holders = _with_parents(path for owner in owners.values() if owner.known for path in (owner.path, *owner.others))
    return HierarchyReport(
        kinds={kind.value: kinds.get(kind, 0) for kind in OwnerKind},
        plumbing=len(roles.plumbing),
        constants=len(roles.constants),
        modules_ran=ran,
        modules_covered=tuple(path for path in ran if path in holders),
        modules_uncovered=tuple(path for path in ran if path not in holders),
        excused={} if calls is None else _excused(calls),
        owners={key: owners[node] for node, keys in named_outputs(model) if node in owners for key in keys},
        evidence=dict(Counter(owners[node].how for node in roles.compute if node in owners)),
        strategy=strategy,
        why=why,
        reason=reason,
        calls=calls,
    )


def _excused(calls: ModuleCalls) -> dict[str, str]:
    reasons = (
        (calls.passed_through, "passed its input through"),
        (calls.unused, "its result is not used"),
        (calls.constant, "its result depends on no input"),
    )
    return {path: reason for path in calls.ran for paths, reason in reasons if path in paths}


def _reason(compute: tuple[ir.Node, ...], known: Mapping[ir.Node, Owner]) -> str:
    if not compute:
        return "the model has no compute node"
    if not known:
        return (
            "no node names a module: the file has neither torch.onnx metadata nor scopes in its node names "
            "(another exporter made it, or an optimizer dropped them)"
        )
    return ""


def _with_parents(paths: Iterable[str]) -> set[str]:
    holders: set[str] = set()
    for path in paths:
        while path not in holders:
            holders.add(path)
            path = path.rpartition(".")[0]
    return holders
