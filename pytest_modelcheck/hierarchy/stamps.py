"""Owners written into a model, so that they travel through passes and into the file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.metadata import CONTRIBUTORS_KEY, KIND_KEY, OWNER_KEY, contributors
from pytest_modelcheck.hierarchy.owners import Owner, OwnerKind

if TYPE_CHECKING:
    from pytest_modelcheck.hierarchy.report import HierarchyReport


def stamp(model: ir.Model, report: HierarchyReport) -> ir.Model:
    """Write the owners of `report` on the nodes of `model`, in place; nodes without an owner are left bare.

    Returns:
        `model` itself.
    """
    for node in all_nodes(model):
        owner = next(
            (found for output in node.outputs if output.name and (found := report.owner(output.name)) is not None), None
        )
        if owner is not None:
            node.metadata_props[OWNER_KEY] = owner.path
            node.metadata_props[KIND_KEY] = owner.kind.value
            if owner.others:
                node.metadata_props[CONTRIBUTORS_KEY] = json.dumps([owner.path, *owner.others])
    return model


def strip(model: ir.Model) -> ir.Model:
    """Take all stamps off `model`, in place.

    Returns:
        `model` itself.
    """
    for node in all_nodes(model):
        for key in (OWNER_KEY, KIND_KEY, CONTRIBUTORS_KEY):
            node.metadata_props.pop(key, None)
    return model


def has_stamps(model: ir.Model) -> bool:
    """Whether any node carries an owner."""
    return any(OWNER_KEY in node.metadata_props for node in all_nodes(model))


def stamped_owners(model: ir.Model) -> dict[ir.Node, Owner]:
    """The owners that nodes carry, of the kind that was stamped; a root fallback carries nothing worth keeping."""
    owners = {}
    for node in all_nodes(model):
        path, kind = node.metadata_props.get(OWNER_KEY), node.metadata_props.get(KIND_KEY)
        if path is not None and kind in (OwnerKind.DIRECT, OwnerKind.INHERITED):
            others = tuple(other for other in contributors(node) if other != path)
            owners[node] = Owner(path, OwnerKind(kind), others, how="stamp")
    return owners
