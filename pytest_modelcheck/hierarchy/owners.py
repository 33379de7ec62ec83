"""Which module owns each node, and how we know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes, is_constant
from pytest_modelcheck.hierarchy.alignment import align, calls_in_order
from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.folded_rows import ROOT
from pytest_modelcheck.hierarchy.scopes import Scopes
from pytest_modelcheck.hierarchy.shape_nodes import node_roles
from pytest_modelcheck.hierarchy.value_names import named_outputs


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
        how: What it was read from: ``"exporter"``, ``"stamp"``, ``"sidecar"``, ``"node name"``, ``"value name"``,
            ``"parameter"``, ``"order"`` (of execution), ``"surroundings"`` or ``"fallback"``.
        call: Of a module that is called several times: in which of its calls, from 1; 0 where it is called once, or the
            call is not known.
    """

    path: str
    kind: OwnerKind
    others: tuple[str, ...] = ()
    how: str = field(default="", compare=False)
    call: int = 0

    @property
    def known(self) -> bool:
        """Whether the owner is a fact or a deduction, and not a fallback."""
        return self.kind in (OwnerKind.DIRECT, OwnerKind.INHERITED)

    @property
    def label(self) -> str:
        """The owner in words: ``"encoder.layer.3"``, ``"albert.layer (call 3)"``, ``"(root)"``."""
        return f"{self.path or ROOT}{f' (call {self.call})' if self.call else ''}"


class Owned(Protocol):
    """A model's owners, found before: a report, or a sidecar."""

    @property
    def owners(self) -> Mapping[str, Owner]: ...


def direct_owners(model: ir.Model, scopes: Scopes) -> dict[ir.Node, Owner]:
    """The *precise* strategy: what the exporter says, and what the node names of a plain file suggest, deduced."""
    owners = {}
    for node in all_nodes(model):
        found = scopes.direct_call(node)
        if found is not None:
            path, call = found
            owners[node] = Owner(path, OwnerKind.DIRECT, how="exporter", call=call)
        elif (deduced := scopes.deduced_owner(node)) is not None:
            owners[node] = Owner(deduced, OwnerKind.INHERITED, how="node name")
    return owners


def named_owners(model: ir.Model, before: Mapping[str, Owner]) -> dict[ir.Node, Owner]:
    """Owners by the names of the values: what an optimizer kept the name of, it most likely kept the place of.

    Args:
        model: What an optimizer made of the model that `before` describes.
        before: Value name -> owner.
    """
    owners = {}
    for node, keys in named_outputs(model):
        owner = next((before[key] for key in keys if key in before), None)
        if owner is not None and owner.known:
            owners[node] = Owner(owner.path, OwnerKind.INHERITED, owner.others, how="value name", call=owner.call)
    return owners


def inherit_owners(model: ir.Model, known: Mapping[ir.Node, Owner], calls: ModuleCalls | None) -> dict[ir.Node, Owner]:
    """The *broad* strategy: `known`, and what follows from it.

    The rules, each applied to what the ones before left open:

    1. The node names a parameter of one module, or is the only one to read it.
    2. In the order of execution it is where one module ran an operator that becomes such a node (`alignment.py`).
    3. Everything around it that has an owner - readers and producers - has the same one, or it reads constants only
       and all its readers have the same one; repeated until nothing changes. Nodes without owners that read each other
       count as one: torchscript writes ``x[:, t] = y`` with a Cast, a Range and a Reshape that it names after nothing.
    4. It is a Reshape beside a Gemm: optimizers that turn a MatMul of three dimensions into a Gemm put one before it
       and one behind, and both belong to the Gemm's module (several Gemms: to the innermost module around them).

    1 and 2 need `calls`. What is left falls back to the root (`ROOT`) where any node has an owner, and has no owner at
    all otherwise.
    """
    owners = dict(known)
    nodes = list(all_nodes(model))
    missing = [node for node in nodes if node not in owners]
    if calls is not None:
        for node in missing:
            if path := _common(_parameter_owners(node, calls)):
                owners[node] = Owner(path, OwnerKind.INHERITED, how="parameter")
        work = [node for node in nodes if not is_constant(node)]
        if any(node not in owners for node in work):
            placed = align(work, calls.trace, {node: owner.path for node, owner in owners.items()})
            owners.update({node: Owner(path, OwnerKind.INHERITED, how="order") for node, path in placed.items()})
        for node in nodes:
            if node in owners:
                owners[node] = _with_sole_parameters(node, owners[node], calls.parameters)
        _take_in_folded_modules(owners, calls)
    _spread(missing, owners)
    bare = [node for node in missing if node not in owners and not is_constant(node)]
    compute = set(node_roles(model).compute) if bare else set()
    for region in _regions(bare):
        if compute.isdisjoint(region):  # sizes alone: they are nobody's
            continue
        readers, producers = ([other for node in region for other in near(node)] for near in (_readers, _producers))
        if _paths(readers, owners) and (path := _common(_paths([*readers, *producers], owners))) is not None:
            owners.update(dict.fromkeys(region, Owner(path, OwnerKind.INHERITED, how="surroundings")))
    for node in missing:
        if node not in owners and (path := _beside_gemm(node, owners)):
            owners[node] = Owner(path, OwnerKind.INHERITED, how="surroundings")
    if owners:
        for node in missing:
            owners.setdefault(node, Owner("", OwnerKind.ROOT, how="fallback"))
    return owners


def number_calls(model: ir.Model, owners: dict[ir.Node, Owner], calls: ModuleCalls) -> None:
    """Say of each node of a module that ran several times in which of its calls it ran, where that follows."""
    shared = {path for path, count in calls.counts.items() if count > 1}
    open_ = {node for node, owner in owners.items() if owner.path in shared and owner.known and not owner.call}
    if not open_:
        return
    work = [node for node in all_nodes(model) if not is_constant(node)]
    paths = {node: owner.path for node, owner in owners.items() if owner.known}
    for node, number in calls_in_order(work, calls.trace, paths, shared).items():
        if node in open_:
            owners[node] = replace(owners[node], call=number)


def _spread(missing: Sequence[ir.Node], owners: dict[ir.Node, Owner]) -> None:
    waiting = [node for node in missing if node not in owners]
    changed = True
    while changed:
        changed = False
        for node in waiting:
            if node not in owners and (path := _surroundings(node, owners)) is not None:
                owners[node] = Owner(path, OwnerKind.INHERITED, how="surroundings")
                changed = True


def _surroundings(node: ir.Node, owners: Mapping[ir.Node, Owner]) -> str | None:
    readers, producers = _readers(node), [node for node in _producers(node) if not is_constant(node)]
    paths = [*_paths(readers, owners), *_paths(producers, owners)]
    if not _paths(readers, owners) or (producers and not _paths(producers, owners)):
        return None
    return _common(paths)


def _regions(nodes: Sequence[ir.Node]) -> Iterator[list[ir.Node]]:
    """The connected parts of `nodes`."""
    left = dict.fromkeys(nodes)
    while left:
        region = [left.popitem()[0]]
        for node in region:
            near = [other for other in (*_readers(node), *_producers(node)) if other in left]
            region += near
            for other in near:
                left.pop(other, None)
        yield region


def _beside_gemm(node: ir.Node, owners: Mapping[ir.Node, Owner]) -> str | None:
    if node.op_type != "Reshape" or not node.inputs or node.inputs[0] is None:
        return None
    producer, readers = node.inputs[0].producer(), _readers(node)
    if readers and all(reader.op_type == "Gemm" for reader in readers):
        return innermost_common(_paths(readers, owners)) or None
    if producer is not None and producer.op_type == "Gemm":
        return innermost_common(_paths([producer], owners)) or None
    return None


def _parameter_owners(node: ir.Node, calls: ModuleCalls) -> Iterator[str]:
    for output in node.outputs:
        # torchscript writes equal parameters once, and for each other name an Identity whose output has that name
        if path := calls.parameters.get(output.name or ""):
            yield path
            return
    for value in node.inputs:
        path = calls.parameters.get(value.name or "") if value is not None else None
        # Equal tensors of several modules may have been merged under one of their names: a second reader makes the name
        # worthless, unless its module is called again and again.
        if value is not None and path and (len(_users(value)) == 1 or calls.counts.get(path, 0) > 1):
            yield path


def _with_sole_parameters(node: ir.Node, owner: Owner, parameters: Mapping[str, str]) -> Owner:
    """`owner` with the modules whose parameters only this node reads: an exporter that folds a BatchNorm into its Conv
    names one of the two."""
    paths = [parameters.get(value.name or "") for value in node.inputs if value is not None and len(_users(value)) == 1]
    others = tuple(dict.fromkeys([*owner.others, *(path for path in paths if path and path != owner.path)]))
    return owner if others == owner.others else replace(owner, others=others)


def _take_in_folded_modules(owners: dict[ir.Node, Owner], calls: ModuleCalls) -> None:
    """Name the modules that an exporter or optimizer folded into a convolution, which keeps its own name.

    A BatchNorm that owns nothing: into the convolution of the module whose output it normalizes, if that reads weights
    or a bias that its own module does not have. A padding that owns nothing: into the convolution that reads its
    output, if that pads.
    """
    owned = {path for owner in owners.values() for path in (owner.path, *owner.others)}
    norms = {source: path for path, source in calls.norm_sources.items() if path not in owned}
    pads = {reader: path for path, reader in calls.pad_readers.items() if path not in owned}
    for node, owner in owners.items():
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            continue
        mine = (owner.path, *owner.others)
        folded = [norms[path] for path in mine if path in norms and _has_strange_weights(node, calls)]
        folded += [pads[path] for path in mine if path in pads and any(node.attributes.get_ints("pads", ()))]
        if folded:
            owners[node] = replace(owner, others=(*owner.others, *folded))


def _has_strange_weights(node: ir.Node, calls: ModuleCalls) -> bool:
    weights = [value for value in node.inputs[1:] if value is not None and value.is_initializer()]
    return any(weight.name not in calls.parameters for weight in weights)


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
    return [owner.path for owner in found if owner.known]


def _common(paths: Iterable[str]) -> str | None:
    """The one path in `paths`; None where there are none or several, and for the root, which names nothing."""
    distinct = set(paths)
    return distinct.pop() or None if len(distinct) == 1 else None
