"""Fused subgraphs: the invariants on every model, and what may and may not fuse."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.capture import Captured, capture, decompose
from pytest_modelcheck.fusion import FusionReport, partition
from pytest_modelcheck.fusion.ops import op_graph
from tests.structure_models import albert_case, bert_case, cross_case, module_case, resnet_case

CASES = {"bert": bert_case, "albert": albert_case, "resnet": resnet_case, "cross": cross_case}


@cache
def model(name: str, decomposed: bool) -> Captured:
    made = capture(CASES[name]())
    assert isinstance(made, Captured), made.render()
    return decompose(made) if decomposed else made


def captured(module: nn.Module, *shapes: tuple[int, ...]) -> Captured:
    made = capture(module_case(module.eval(), *shapes))
    assert isinstance(made, Captured), made.render()
    return made


def patterns(report: FusionReport) -> list[str]:
    return [" > ".join(op.partition("[")[0] for op in subgraph.ops) for subgraph in report.subgraphs]


EVERY_GRAPH = [
    (name, decomposed, attention) for name in CASES for decomposed in (False, True) for attention in (False, True)
]


@pytest.mark.parametrize(("name", "decomposed", "attention"), EVERY_GRAPH)
def test_each_compute_node_is_in_exactly_one_subgraph(name: str, decomposed: bool, attention: bool) -> None:
    report = partition(model(name, decomposed), attention=attention)
    members = [member for subgraph in report.subgraphs for member in subgraph.members]
    assert sorted(members) == list(range(report.nodes))
    assert report.nodes == len(op_graph(model(name, decomposed)).ops)


@pytest.mark.parametrize(("name", "decomposed", "attention"), EVERY_GRAPH)
def test_fusing_every_subgraph_creates_no_cycle(name: str, decomposed: bool, attention: bool) -> None:
    """No cycle among the subgraphs: so each of them is convex, too."""
    report = partition(model(name, decomposed), attention=attention)
    waiting = {number: set(subgraph.sources) for number, subgraph in enumerate(report.subgraphs)}
    while ready := [number for number, sources in waiting.items() if not sources]:
        for number in ready:
            del waiting[number]
        for sources in waiting.values():
            sources.difference_update(ready)
    assert not waiting


@pytest.mark.parametrize(("name", "decomposed", "attention"), EVERY_GRAPH)
def test_every_subgraph_is_connected(name: str, decomposed: bool, attention: bool) -> None:
    """All but the last are read by one other member alone; grouped projections are connected by their input."""
    captured = model(name, decomposed)
    ops = op_graph(captured).ops
    for subgraph in partition(captured, attention=attention).subgraphs:
        members = [ops[index] for index in subgraph.members]
        if subgraph.pattern == "qkv":
            assert len({op.inputs[0] for op in members}) == 1
        else:
            assert all(len(op.users) == 1 and op.users[0] in members for op in members[:-1])


@pytest.mark.parametrize("name", CASES)
def test_the_same_model_gives_the_same_report(name: str) -> None:
    again = capture(CASES[name]())
    assert isinstance(again, Captured)
    assert partition(again) == partition(model(name, False))


def test_bookkeeping_is_counted_apart_from_the_compute_nodes() -> None:
    class Halves(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = x.chunk(2, -1)
            return a * b

    report = partition(captured(Halves(), (2, 4)))
    assert report.nodes == 2  # split, mul
    assert report.bookkeeping == 2  # getitem twice


def test_a_linear_takes_in_the_activation_that_alone_reads_it() -> None:
    assert patterns(partition(captured(nn.Sequential(nn.Linear(4, 4), nn.GELU()), (2, 4)))) == ["linear > gelu"]


def test_a_result_that_two_nodes_read_ends_its_subgraph_in_a_fork() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return torch.relu(y) * torch.sigmoid(y)

    report = partition(captured(Fork(), (2, 4)))
    assert report.subgraphs[0].ops == ("linear",)
    assert report.subgraphs[0].boundary == "fork"


def test_a_result_that_is_an_output_and_read_on_is_not_swallowed() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.linear(x)
            return y, torch.relu(y)

    report = partition(captured(Both(), (2, 4)))
    assert patterns(report) == ["linear", "relu"]
    assert report.subgraphs[0].boundary == "output"


def test_a_pair_without_a_rule_is_a_boundary_that_names_it() -> None:
    report = partition(captured(nn.Sequential(nn.ReLU(), nn.Linear(4, 4)), (2, 4)))
    assert [subgraph.boundary for subgraph in report.subgraphs] == ["no rule for relu -> linear", "output"]


def test_the_owner_of_a_subgraph_is_the_innermost_module_around_it() -> None:
    report = partition(captured(nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)), (2, 4)))
    assert [subgraph.owner for subgraph in report.subgraphs] == ["0", "1"]


def test_attention_rules_make_fewer_and_larger_subgraphs_of_the_same_graph() -> None:
    enhanced, baseline = (partition(model("bert", True), attention=attention) for attention in (True, False))
    assert enhanced.nodes == baseline.nodes
    assert enhanced.mean_size >= 1.3 * baseline.mean_size
    assert baseline.qkv == 0


def test_attention_is_one_subgraph_from_the_heads_to_the_weighted_values() -> None:
    forms = [subgraph.form for subgraph in partition(model("bert", True)).subgraphs if "softmax" in subgraph.form]
    assert len(set(forms)) == 1
    assert forms[0] == (
        "((((view > transpose[dim0=1 dim1=2], view > transpose[dim0=1 dim1=2] > transpose[dim0=-2 dim1=-1])"
        " > matmul > mul, logical_not) > masked_fill > softmax[dim=-1], logical_not) > masked_fill"
        ", view > transpose[dim0=1 dim1=2]) > matmul > view > transpose[dim0=1 dim1=2] > clone > _unsafe_view"
    )


def test_an_empty_graph_has_no_subgraphs_and_a_mean_size_of_0() -> None:
    report = partition(captured(nn.Identity(), (2, 4)))
    assert (report.nodes, report.subgraphs, report.mean_size, report.max_size) == (0, (), 0.0, 0)


def test_a_symbolic_trace_is_partitioned_too() -> None:
    made = capture(module_case(nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), (2, 4)), how="symbolic_trace")
    assert isinstance(made, Captured)
    assert partition(made).nodes == 2


def test_partition_is_linear_in_the_number_of_nodes() -> None:
    """20,000 nodes, as one chain and as many: no recursion limit, no quadratic step (counted, not timed)."""
    graph = torch.fx.Graph()
    value = graph.placeholder("x")
    for _ in range(10_000):
        value = graph.call_function(torch.ops.aten.relu.default, (value,))
    other = graph.placeholder("y")
    for _ in range(5_000):
        other = graph.call_function(
            torch.ops.aten.matmul.default, (graph.call_function(torch.ops.aten.cos.default, (other,)), other)
        )
    graph.output((value, other))
    made = Captured(
        name="long",
        how="symbolic_trace",
        graph_module=torch.fx.GraphModule(nn.Module(), graph),
        program=None,
        inputs=ModuleInputs(("x", "y"), (torch.zeros(1), torch.zeros(1))),
    )
    report = partition(made)
    assert report.nodes == 20_000
    assert report.max_size == 10_000
    assert len(report.subgraphs) == 5_001
