"""Owners written into a model, so that they travel through passes and into the file."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping, Sequence

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.metadata import CALL_KEY, CONTRIBUTORS_KEY, KIND_KEY, OWNER_KEY, contributors
from pytest_modelcheck.hierarchy.owners import Owner, OwnerKind
from pytest_modelcheck.hierarchy.report import HierarchyReport
from pytest_modelcheck.hierarchy.value_names import named_outputs

OURS = ("modelcheck.",)
"""How every metadata key of ours begins."""

EXPORTERS = ("pkg.torch.", "pkg.onnxscript.")
"""How the keys begin under which torch's exporter writes where things come from; ``namespace`` is one more."""


def stamp(model: ir.Model, report: HierarchyReport) -> ir.Model:
    """Write the owners of `report` on the nodes of `model`, in place; nodes without an owner are left bare.

    Returns:
        `model` itself.
    """
    for node, keys in named_outputs(model):
        owner = next((found for key in keys if (found := report.owner(key)) is not None), None)
        if owner is not None:
            node.metadata_props[OWNER_KEY] = owner.path
            node.metadata_props[KIND_KEY] = owner.kind.value
            if owner.call:
                node.metadata_props[CALL_KEY] = str(owner.call)
            if owner.others:
                node.metadata_props[CONTRIBUTORS_KEY] = json.dumps([owner.path, *owner.others])
    return model


def strip(model: ir.Model, *, exporter: bool = False) -> ir.Model:
    """Take all stamps off `model`, in place.

    Args:
        model: The model.
        exporter: For a release: also take off what torch's exporter wrote (module scopes, stack traces with the paths
            of the machine that exported), from nodes, values, graphs, functions and the model, and the doc strings of
            nodes. Names of nodes stay: they are part of the graph.

    Returns:
        `model` itself.
    """
    nodes = list(all_nodes(model))
    for node in nodes:
        _forget(node.metadata_props, OURS)
    if exporter:
        for graph in _graphs(model, nodes):
            _forget(graph.metadata_props, (*OURS, *EXPORTERS))
            for value in (*graph.inputs, *graph.outputs, *_initializers(graph)):
                _forget(value.metadata_props, (*OURS, *EXPORTERS))
        for node in nodes:
            _forget(node.metadata_props, EXPORTERS)
            node.doc_string = None
            for output in node.outputs:
                _forget(output.metadata_props, (*OURS, *EXPORTERS))
        _forget(model.metadata_props, (*OURS, *EXPORTERS))
    return model


def _forget(props: MutableMapping[str, str], prefixes: tuple[str, ...]) -> None:
    for key in [key for key in props if key.startswith(prefixes) or (key == "namespace" and EXPORTERS[0] in prefixes)]:
        del props[key]


def _graphs(model: ir.Model, nodes: Sequence[ir.Node]) -> Iterator[ir.Graph | ir.Function]:
    """The graph, the functions, and the bodies of If, Loop and Scan."""
    yield model.graph
    yield from model.functions.values()
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield attribute.as_graph()
            elif attribute.type == ir.AttributeType.GRAPHS:
                yield from attribute.as_graphs()


def _initializers(graph: ir.Graph | ir.Function) -> tuple[ir.Value, ...]:
    return tuple(graph.initializers.values()) if isinstance(graph, ir.Graph) else ()


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
            call = node.metadata_props.get(CALL_KEY, "")
            number = int(call) if call.isdecimal() else 0
            owners[node] = Owner(path, OwnerKind(kind), others, how="stamp", call=number)
    return owners
