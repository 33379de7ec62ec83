"""Modules that run several times: each call is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import onnx_ir as ir
import pytest
import torch
from torch import nn

from examples.zoo.jitter import jitter
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.graph.counts import is_constant
from pytest_modelcheck.hierarchy import Owner, OwnerKind, hierarchy, hierarchy_of_model, stamp
from pytest_modelcheck.hierarchy.alignment import TorchOp, calls_in_order
from pytest_modelcheck.hierarchy.owners import direct_owners, inherit_owners, number_calls
from pytest_modelcheck.hierarchy.recorded_calls import case_calls
from pytest_modelcheck.hierarchy.scopes import Scopes
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.exported_models import exported
from tests.structure_models import module_case

ATTENTION = "encoder.albert_layer_groups.0.albert_layers.0.attention"


def albert(exporter: Exporter) -> Exported:
    return exported("albert", exporter)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_each_call_of_a_shared_layer_is_named(exporter: Exporter) -> None:
    found = hierarchy(albert(exporter))
    labels = [
        owner.label
        for node in albert(exporter).model.graph
        if node.op_type == "Softmax" and (owner := found.owner(node.outputs[0].name or "")) is not None
    ]
    assert labels == [f"{ATTENTION} (call 1)", f"{ATTENTION} (call 2)", f"{ATTENTION} (call 3)"]


def test_the_order_of_execution_gives_the_calls_that_the_exporter_names() -> None:
    """torchscript numbers the calls of a scope: the numbers deduced without them must be the same."""
    made = albert("torchscript")
    model, calls = made.model, case_calls(made.case)
    named = inherit_owners(model, direct_owners(model, Scopes.of(calls)), calls)
    blind = {node: replace(owner, call=0) for node, owner in named.items()}
    number_calls(model, blind, calls)
    numbered = [node for node, owner in named.items() if owner.call and not is_constant(node)]
    assert len(numbered) > 50
    assert Counter(blind[node].call == named[node].call for node in numbered) == {True: len(numbered)}


def test_a_module_that_is_called_once_has_no_number() -> None:
    assert Owner("pooler", OwnerKind.DIRECT).label == "pooler"
    assert Owner("", OwnerKind.DIRECT).label == "(root)"
    found = hierarchy(albert("dynamo"))
    pooler = [owner for owner in found.owners.values() if owner.path == "pooler"]
    assert pooler
    assert {owner.call for owner in pooler} == {0}


class Twice(nn.Module):
    """One layer called from two places, and another between its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 4)
        self.between = nn.Sequential(nn.ReLU(), self.shared)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.between(self.shared(x))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_calls_from_different_places_are_numbered_in_the_order_of_execution(exporter: Exporter) -> None:
    made = export(module_case(jitter(Twice()).eval(), (2, 4), exporter=exporter))
    assert isinstance(made, Exported), made.render()
    found = hierarchy(made)
    labels = [owner.label for node in made.model.graph if (owner := found.owner(node.outputs[0].name or ""))]
    assert labels == ["shared (call 1)", "between.0", "shared (call 2)"]


def test_a_call_survives_stamping() -> None:
    model = albert("torchscript").model
    before = hierarchy(albert("torchscript"))
    stamp(model, before)
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    assert hierarchy_of_model(model).owners.items() >= before.owners.items()


def test_a_call_that_is_not_a_number_is_no_call() -> None:
    model = ir.from_onnx_text('<ir_version: 10, opset_import: ["" : 18]>\ng (float[2] x) => (float[2] y) {y = Neg (x)}')
    model.graph[0].metadata_props.update(
        {"modelcheck.owner": "a", "modelcheck.owner_kind": "direct", "modelcheck.owner_call": "third"}
    )
    assert hierarchy_of_model(model).owner("y") == Owner("a", OwnerKind.DIRECT)


def test_a_node_between_two_calls_that_matches_no_operator_gets_no_number() -> None:
    nodes = [ir.node(op, []) for op in ("Relu", "Einsum", "Einsum", "Relu", "Einsum")]
    trace = [TorchOp("relu", "m", 1), TorchOp("relu", "m", 2)]
    found = calls_in_order(nodes, trace, dict.fromkeys(nodes, "m"), {"m"})
    assert [found.get(node) for node in nodes] == [1, None, None, 2, 2]
