"""Which module owns each node, and how we know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.scopes import Scopes


class OwnerKind(StrEnum):
    """How an owner is known.

    `DIRECT`: the exporter says so. `INHERITED`: deduced. `ROOT`: only the whole model can be named. `NONE`: nothing.
    """

    DIRECT = "direct"
    INHERITED = "inherited"
    ROOT = "root"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Owner:
    """The module that owns a node.

    Attributes:
        path: Module path, ``""`` for the root module.
        kind: How it is known.
        others: Further modules whose work was merged into the node by a rewrite.
    """

    path: str
    kind: OwnerKind
    others: tuple[str, ...] = ()


def direct_owners(model: ir.Model, scopes: Scopes) -> dict[ir.Node, Owner]:
    """The *precise* strategy: only what the exporter says."""
    owners = {}
    for node in all_nodes(model):
        path = scopes.direct_owner(node)
        if path is not None:
            owners[node] = Owner(path, OwnerKind.DIRECT)
    return owners


def inherit_owners(model: ir.Model, known: Mapping[ir.Node, Owner], calls: ModuleCalls | None) -> dict[ir.Node, Owner]:
    """The *broad* strategy: `known`, and what follows from it.

    Numbered rules, the first that names a module other than the root wins; repeated until nothing changes:

    1. The node reads or names parameters (directly, or through nodes that read nothing else) of one module.
    2. Every reader of its results is owned by one module.
    3. Every producer of its inputs is owned by one module.
    4. The innermost module around all its owned readers and producers.

    What is left falls back to the root (`ROOT`) where anything around it is owned, and has no owner at all otherwise.
    """
    owners = dict(known)
    missing = [node for node in all_nodes(model) if node not in owners]
    if calls is not None:
        for node in missing:
            if path := _common(_parameter_owners(node, known, calls.parameters)):
                owners[node] = Owner(path, OwnerKind.INHERITED)
        for node, owner in known.items():
            owners[node] = _with_sole_parameters(node, owner, calls.parameters)
        _take_in_folded_norms(owners, calls)
    for rule in (_by_readers, _by_producers, _by_both):
        changed = True
        while changed:
            changed = False
            for node in [node for node in missing if node not in owners]:
                if path := rule(node, owners):
                    owners[node] = Owner(path, OwnerKind.INHERITED)
                    changed = True
    if owners:
        for node in missing:
            owners.setdefault(node, Owner("", OwnerKind.ROOT))
    return owners


def _parameter_owners(node: ir.Node, known: Mapping[ir.Node, Owner], parameters: Mapping[str, str]) -> Iterator[str]:
    for output in node.outputs:
        # torchscript writes equal parameters once, and for each other name an Identity whose output has that name
        if path := parameters.get(output.name or ""):
            yield path
            return
    for value in node.inputs:
        path = parameters.get(value.name or "") if value is not None else None
        if value is not None and path and not any(_owned_elsewhere(reader, path, known) for reader in _users(value)):
            yield path


def _owned_elsewhere(node: ir.Node, path: str, known: Mapping[ir.Node, Owner]) -> bool:
    return node in known and known[node].path != path


def _with_sole_parameters(node: ir.Node, owner: Owner, parameters: Mapping[str, str]) -> Owner:
    """`owner` with the modules whose parameters only this node reads: an exporter that folds a BatchNorm into its Conv
    names one of the two."""
    paths = [parameters.get(value.name or "") for value in node.inputs if value is not None and len(_users(value)) == 1]
    others = tuple(dict.fromkeys([*owner.others, *(path for path in paths if path and path != owner.path)]))
    return owner if others == owner.others else Owner(owner.path, owner.kind, others)


def _take_in_folded_norms(owners: dict[ir.Node, Owner], calls: ModuleCalls) -> None:
    """Name the BatchNorms that torchscript folded into a convolution.

    It leaves the convolution's name and writes new weights under no parameter's name. So: a BatchNorm that owns
    nothing, and the convolution of the module whose output it normalizes, if that reads no named weight.
    """
    owned = {path for owner in owners.values() for path in (owner.path, *owner.others)}
    folded = {source: path for path, source in calls.norm_sources.items() if path not in owned}
    for node, owner in owners.items():
        weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose", "Gemm") and len(node.inputs) > 1 else None
        if weight is None or not weight.is_initializer() or weight.name in calls.parameters:
            continue
        if owner.path in folded:
            owners[node] = Owner(owner.path, owner.kind, (*owner.others, folded[owner.path]))


def _by_readers(node: ir.Node, owners: Mapping[ir.Node, Owner]) -> str | None:
    return _common(_paths(_readers(node), owners))


def _by_producers(node: ir.Node, owners: Mapping[ir.Node, Owner]) -> str | None:
    return _common(_paths(_producers(node), owners))


def _by_both(node: ir.Node, owners: Mapping[ir.Node, Owner]) -> str | None:
    return innermost_common(_paths([*_readers(node), *_producers(node)], owners)) or None


def innermost_common(paths: Iterable[str]) -> str:
    """The innermost path around all `paths`; ``""`` where that is the root, or there are none."""
    distinct = sorted({tuple(path.split(".")) for path in paths})
    if not distinct:
        return ""
    first, last = distinct[0], distinct[-1]  # what the two ends of a sorted list share, all between them share
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return ".".join(first[:length])


def _users(value: ir.Value) -> list[ir.Node]:
    return list(dict.fromkeys(use.node for use in value.uses()))


def _readers(node: ir.Node) -> list[ir.Node]:
    return list(dict.fromkeys(use.node for output in node.outputs for use in output.uses()))


def _producers(node: ir.Node) -> list[ir.Node]:
    producers = [value.producer() for value in node.inputs if value is not None]
    return list(dict.fromkeys(producer for producer in producers if producer is not None))


def _paths(nodes: Iterable[ir.Node], owners: Mapping[ir.Node, Owner]) -> list[str]:
    found = [owners[node] for node in nodes if node in owners]
    return [owner.path for owner in found if owner.kind in (OwnerKind.DIRECT, OwnerKind.INHERITED)]


def _common(paths: Iterable[str]) -> str | None:
    """The one path in `paths`; None where there are none or several, and for the root, which names nothing."""
    distinct = set(paths)
    return distinct.pop() or None if len(distinct) == 1 else None
