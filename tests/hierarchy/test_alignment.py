"""Owners deduced from the order of execution."""

from __future__ import annotations

import random
from functools import cache

import onnx_ir as ir
import pytest

from pytest_modelcheck.hierarchy import ModuleCalls, OwnerKind
from pytest_modelcheck.hierarchy.alignment import TorchOp, align
from pytest_modelcheck.hierarchy.owners import Owner, direct_owners, inherit_owners
from pytest_modelcheck.hierarchy.recorded_calls import case_calls
from pytest_modelcheck.hierarchy.scopes import Scopes
from pytest_modelcheck.hierarchy.shape_nodes import node_roles
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.exported_models import CASES, exported


def nodes(*op_types: str) -> list[ir.Node]:
    return [ir.node(op_type, []) for op_type in op_types]


def placed(op_types: list[str], trace: list[tuple[str, str]], known: dict[int, str] | None = None) -> list[str | None]:
    made = nodes(*op_types)
    found = align(
        made, [TorchOp(name, path) for name, path in trace], {made[i]: path for i, path in (known or {}).items()}
    )
    return [found.get(node) for node in made]


def test_equal_sequences_match_one_by_one() -> None:
    assert placed(["Relu", "Tanh"], [("relu", "a"), ("tanh", "b")]) == ["a", "b"]


def test_an_operator_that_became_several_nodes_owns_them_all() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[4] x, float[1] two, float[1] eps) => (float[4] y) {
        r = Relu (x)
        mean = ReduceMean (r)
        centered = Sub (r, mean)
        squares = Pow (centered, two)
        variance = ReduceMean (squares)
        shifted = Add (variance, eps)
        deviation = Sqrt (shifted)
        normed = Div (centered, deviation)
        y = Tanh (normed)
    }"""
    made = list(ir.from_onnx_text(text).graph)
    trace = [TorchOp("relu", "a"), TorchOp("native_layer_norm", "norm"), TorchOp("tanh", "b")]
    found = align(made, trace, {})
    assert [found.get(node) for node in made] == ["a", *["norm"] * 7, "b"]


def test_a_node_that_could_go_with_an_operator_needs_a_connection_to_it() -> None:
    """The Cast stands where the norm ran, and has nothing to do with it."""
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[4] x, int64[4] mask) => (float[4] y, float[4] m) {
        mean = ReduceMean (x)
        m = Cast <to = 1> (mask)
        y = Sub (x, mean)
    }"""
    made = list(ir.from_onnx_text(text).graph)
    found = align(made, [TorchOp("native_layer_norm", "norm")], {})
    assert [found.get(node) for node in made] == ["norm", None, "norm"]


def test_an_operator_that_left_no_node_is_passed_over() -> None:
    assert placed(["Relu"], [("view", "x"), ("relu", "a"), ("dropout", "y")]) == ["a"]


def test_a_node_that_fits_no_operator_stays_open() -> None:
    assert placed(["Relu", "Einsum", "Tanh"], [("relu", "a"), ("tanh", "b")]) == ["a", None, "b"]


def test_two_equal_nodes_are_two_operators_rather_than_one() -> None:
    assert placed(["MatMul", "MatMul"], [("linear", "a"), ("linear", "b")]) == ["a", "b"]


def test_an_owner_that_is_known_decides_between_equal_operators() -> None:
    trace = [("relu", "a"), ("relu", "b"), ("tanh", "b"), ("relu", "c")]
    assert placed(["Relu", "Relu", "Tanh"], trace, known={2: "b"}) == ["a", "b", None]
    assert placed(["Relu", "Tanh"], trace, known={0: "c"}) == [None, None]  # no tanh runs after c
    assert placed(["Tanh", "Relu"], trace, known={0: "b"}) == [None, "c"]


def test_nothing_is_placed_without_nodes_or_without_a_trace() -> None:
    assert align([], [TorchOp("relu", "a")], {}) == {}
    assert placed(["Relu"], []) == [None]


def test_an_operator_of_constants_explains_no_node_that_reads_the_inputs() -> None:
    """Swin's position bias is folded into an initializer: its view is not the attention's Reshape beside it."""
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[4] x, int64[1] shape) => (float[4] y, float[4] z) {
        y = Reshape (x, shape)
        size = Shape (x)
        z = Expand (size, shape)
    }"""
    made = list(ir.from_onnx_text(text).graph)
    made[2].inputs[1].name = "of a constant"  # type: ignore[union-attr]
    constant = [TorchOp("view", "bias", constant=True)]
    assert align(made, constant, {}) == {}
    found = align(made, [*constant, TorchOp("view", "attention")], {})
    assert found[made[0]] == "attention"


@cache
def with_calls(name: str, exporter: Exporter) -> tuple[ir.Model, ModuleCalls]:
    made = exported(name, exporter)
    return made.model, case_calls(made.case)


def hidden_and_deduced(name: str, exporter: Exporter, share: float) -> list[tuple[Owner, Owner | None]]:
    """(truth, deduction) of the compute nodes whose direct owner was hidden, over three random choices of them."""
    model, calls = with_calls(name, exporter)
    direct = direct_owners(model, Scopes.of(calls))
    truth = inherit_owners(model, direct, calls)
    compute = [node for node in node_roles(model).compute if node in direct]
    pairs = []
    for seed in range(3):
        chosen = random.Random(seed)
        hidden = {node for node in compute if chosen.random() < share}
        found = inherit_owners(model, {node: owner for node, owner in direct.items() if node not in hidden}, calls)
        pairs += [(truth[node], found.get(node)) for node in hidden]
    return pairs


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", [*CASES, "swin"])
def test_98_percent_of_the_deduced_owners_are_the_hidden_ones(name: str, exporter: Exporter, share: float) -> None:
    """A node in which the exporter merged two modules' work has two true owners."""
    pairs = hidden_and_deduced(name, exporter, share)
    deduced = [(truth, found) for truth, found in pairs if found is not None and found.kind is OwnerKind.INHERITED]
    right = sum(1 for truth, found in deduced if found.path in (truth.path, *truth.others))
    assert right >= 0.98 * len(deduced)
    assert len(deduced) >= 0.95 * len(pairs)


def test_a_deduction_is_never_called_direct() -> None:
    pairs = hidden_and_deduced("bert", "torchscript", 0.5)
    assert {found.kind for _, found in pairs if found is not None} <= {OwnerKind.INHERITED, OwnerKind.ROOT}


def test_the_comparison_notices_owners_that_are_wrong() -> None:
    """With another model's trace the deductions must be far below the bar: the test above can fail."""
    model, calls = with_calls("bert", "dynamo")
    _, other = with_calls("resnet", "dynamo")
    direct = direct_owners(model, Scopes.of(calls))
    found = inherit_owners(model, {}, other)
    right = sum(1 for node, owner in direct.items() if node in found and found[node].path == owner.path)
    assert right < 0.5 * len(direct)
