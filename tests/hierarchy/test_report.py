"""Coverage on real exports of both exporters, and the ways in which it fails."""

from __future__ import annotations

import onnx_ir as ir
import pytest
import torch
from torch import nn

from examples.zoo.jitter import jitter
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.hierarchy import hierarchy, hierarchy_of_model
from pytest_modelcheck.hierarchy.recorded_calls import case_calls
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.exported_models import EVERY_EXPORT, exported, report
from tests.structure_models import module_case, resnet_case


def owners_of(name: str, exporter: Exporter, op_type: str) -> list[str]:
    found = report(name, exporter)
    nodes = [node for node in exported(name, exporter).model.graph if node.op_type == op_type]
    owners = [found.owner(node.outputs[0].name or "") for node in nodes]
    return sorted(owner.path for owner in owners if owner is not None)


@pytest.mark.parametrize(("name", "exporter"), EVERY_EXPORT)
def test_at_least_99_percent_of_the_compute_nodes_of_a_real_export_are_covered(name: str, exporter: Exporter) -> None:
    found = report(name, exporter)
    assert found.coverage >= 0.99
    assert found.reason == ""


@pytest.mark.parametrize(("name", "exporter"), EVERY_EXPORT)
def test_every_module_that_ran_and_did_something_owns_a_node(name: str, exporter: Exporter) -> None:
    found = report(name, exporter)
    assert found.modules_uncovered == ()
    assert found.module_coverage == 1.0
    assert len(found.modules_ran) >= 3


@pytest.mark.parametrize(("name", "exporter"), EVERY_EXPORT)
def test_every_node_is_counted_exactly_once(name: str, exporter: Exporter) -> None:
    found = report(name, exporter)
    nodes = list(exported(name, exporter).model.graph.all_nodes())
    assert found.compute_nodes + found.plumbing + found.constants == len(nodes)
    assert set(found.kinds) == {"direct", "inherited", "root", "none"}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_softmax_of_each_bert_layer_belongs_to_its_own_self_attention(exporter: Exporter) -> None:
    expected = ["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"]
    assert owners_of("bert", exporter, "Softmax") == expected


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_all_calls_of_a_shared_layer_belong_to_the_one_module(exporter: Exporter) -> None:
    assert owners_of("albert", exporter, "Softmax") == ["encoder.albert_layer_groups.0.albert_layers.0.attention"] * 3


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_child_of_a_sequential_is_found_by_its_full_path(exporter: Exporter) -> None:
    assert owners_of("resnet", exporter, "Gemm") == ["classifier.1"]


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_operator_of_the_roots_own_forward_is_direct(exporter: Exporter) -> None:
    model = exported("cross", exporter).model
    found = report("cross", exporter)
    norm_inputs = [node for node in model.graph if node.op_type == "Add"]
    owners = [owner for node in norm_inputs if (owner := found.owner(node.outputs[0].name or "")) is not None]
    assert ("", "direct") in [(owner.path, owner.kind) for owner in owners]


def test_dropout_in_eval_mode_is_listed_apart_and_not_held_against_the_coverage() -> None:
    found = report("bert", "dynamo")
    assert found.excused["embeddings.dropout"] == "passed its input through"
    assert "embeddings.dropout" not in found.modules_ran


def test_a_module_that_computes_a_constant_may_be_folded_and_is_listed_apart() -> None:
    found = report("albert", "dynamo")
    assert found.excused["embeddings.position_embeddings"] == "its result depends on no input"


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_convolution_that_took_in_its_batchnorm_covers_both_modules(exporter: Exporter) -> None:
    found = report("resnet", exporter)
    assert not any(node.op_type == "BatchNormalization" for node in exported("resnet", exporter).model.graph)
    assert "resnet.embedder.embedder.convolution" in found.modules_covered
    assert "resnet.embedder.embedder.normalization" in found.modules_covered


# -- the ways to fail ---------------------------------------------------------------------------------------------


def forget(model: ir.Model, *, every: int = 1) -> ir.Model:
    """The model without what the exporter said about every n-th node, as an optimizer would leave it."""
    for index, node in enumerate(model.graph.all_nodes()):
        if index % every == 0:
            node.name = f"n{index}"
            for key in (NAME_SCOPES_KEY, "pkg.torch.onnx.class_hierarchy"):
                node.metadata_props.pop(key, None)
    return model


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_model_that_lost_all_metadata_is_not_directly_covered_at_all(exporter: Exporter) -> None:
    found = hierarchy(exported("cross", exporter), model=forget(exported("cross", exporter).model))
    assert found.kinds["direct"] == 0
    assert "no node names a module" in found.reason


def test_a_foreign_model_without_a_module_has_coverage_0_and_says_why() -> None:
    found = hierarchy_of_model(forget(exported("bert", "dynamo").model))
    assert found.coverage == 0.0
    assert found.kinds["none"] == found.compute_nodes > 0
    assert "another exporter made it, or an optimizer dropped them" in found.reason
    assert found.owner("linear") is None


def test_a_model_without_nodes_has_coverage_0_and_says_why() -> None:
    found = hierarchy_of_model(
        ir.from_onnx_text('<ir_version: 10, opset_import: ["" : 18]>\ng (float[2] x) => (float[2] x) {}')
    )
    assert found.coverage == 0.0
    assert found.reason == "the model has no compute node"


def test_the_root_fallback_never_counts() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[2] x) => (float[2] y) {
        a = Relu (x)
        b = Relu (a)
        y = Relu (b)
    }"""
    model = ir.from_onnx_text(text)
    model.graph[0].metadata_props[NAME_SCOPES_KEY] = "['', 'one', 'relu']"
    model.graph[2].metadata_props[NAME_SCOPES_KEY] = "['', 'relu']"
    model.graph[1].name = "unknown"
    found = hierarchy_of_model(model)
    assert found.kinds["direct"] == 2
    assert found.kinds["root"] + found.kinds["inherited"] == 1
    assert found.coverage == (2 + found.kinds["inherited"]) / 3


class Shadow(nn.Module):
    """Runs a layer whose result it drops."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.dropped = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.dropped(x)
        return self.used(x)


def test_a_module_whose_result_is_dropped_is_listed_apart() -> None:
    made = export(module_case(Shadow().eval(), (2, 4)))
    assert isinstance(made, Exported), made.render()
    found = hierarchy(made)
    assert found.modules_ran == ("", "used")
    assert found.excused == {"dropped": "its result is not used"}


def test_a_module_that_ran_and_lost_its_nodes_is_named() -> None:
    """The nodes of one layer stand under another's name, as after an optimizer that mixed them up."""
    model = exported("bert", "dynamo").model
    for node in model.graph:
        listed = node.metadata_props[NAME_SCOPES_KEY]
        node.metadata_props[NAME_SCOPES_KEY] = listed.replace("encoder.layer.1", "encoder.layer.0")
    for name, value in list(model.graph.initializers.items()):
        value.name = name.replace("encoder.layer.1", "encoder.layer_0")
    found = hierarchy(exported("bert", "dynamo"), model=model)
    assert found.coverage == 1.0
    assert "encoder.layer.1.attention.self.query" in found.modules_uncovered
    assert found.module_coverage < 0.7


def test_a_norm_is_not_credited_to_a_convolution_that_still_has_its_own_weights() -> None:
    case = resnet_case("torchscript")
    calls = case_calls(case)
    model = exported("resnet", "torchscript").model
    convolution = next(node for node in model.graph if node.op_type == "Conv")
    weight = convolution.inputs[1]
    assert weight is not None
    weight.name = "resnet.embedder.embedder.convolution.weight"
    convolution.replace_input_with(2, None)
    found = hierarchy_of_model(model, calls)
    assert "resnet.embedder.embedder.normalization" in found.modules_uncovered


def test_a_padding_that_went_into_a_convolutions_pads_is_covered() -> None:
    module = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.ReLU())
    made = export(module_case(jitter(module).eval(), (1, 3, 8, 8)))
    assert isinstance(made, Exported), made.render()
    assert [node.op_type for node in made.model.graph] == ["Conv", "Relu"]
    assert hierarchy(made).modules_uncovered == ()


def test_a_padding_is_not_credited_to_a_convolution_that_does_not_pad() -> None:
    module = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3), nn.ReLU())
    made = export(module_case(jitter(module).eval(), (1, 3, 8, 8)))
    assert isinstance(made, Exported), made.render()
    model = made.model
    model.graph[0].attributes.pop("pads")
    assert hierarchy(made, model=model).modules_uncovered == ("0",)
