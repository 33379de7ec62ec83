"""The module owner of a node, as `metadata_props`, and how it survives a rewrite.

Node attributes would be refused by onnx.checker and by onnxruntime; `metadata_props` are part of the format
(ONNX IR version 10) and ignored by runtimes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import onnx_ir as ir

OWNER_KEY = "modelcheck.owner"
"""Module path of the node's owner, ``""`` for the root module."""

KIND_KEY = "modelcheck.owner_kind"
"""How the owner is known: ``direct``, ``inherited`` or ``root``."""

CALL_KEY = "modelcheck.owner_call"
"""Of a module that is called several times: in which of its calls the node ran, from 1."""

CONTRIBUTORS_KEY = "modelcheck.owners"
"""JSON list of the owners of everything a rewrite merged into this node, primary owner first."""


def contributors(node: ir.Node) -> tuple[str, ...]:
    """The owners merged into `node`, primary first; empty where none was stamped, or the root fallback only."""
    if node.metadata_props.get(KIND_KEY) == "root":
        return ()
    if listed := node.metadata_props.get(CONTRIBUTORS_KEY):
        return tuple(json.loads(listed))
    owner = node.metadata_props.get(OWNER_KEY)
    return () if owner is None else (owner,)


def merge_metadata(replaced: Sequence[ir.Node], created: Sequence[ir.Node]) -> None:
    """Give every node of `created` the metadata of what it replaced.

    The first node of `replaced` that has an owner is the primary (the first with any metadata, where none has): its
    exporter metadata and owner are copied; `CONTRIBUTORS_KEY` holds the union of all owners. Metadata that a created
    node already has is kept.
    """
    labelled = [node for node in replaced if node.metadata_props]
    if not labelled:
        return
    primary = next((node for node in labelled if contributors(node)), labelled[0])
    owners = tuple(dict.fromkeys(owner for node in (primary, *replaced) for owner in contributors(node)))
    for node in created:
        for key, value in primary.metadata_props.items():
            node.metadata_props.setdefault(key, value)
        if len(owners) > 1:
            node.metadata_props[CONTRIBUTORS_KEY] = json.dumps(owners)
