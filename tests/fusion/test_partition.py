"""Fused subgraphs: the invariants on every model, and what may and may not fuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.capture import Captured, capture
from pytest_modelcheck.capture.captured import How
from pytest_modelcheck.fusion import FusionReport, partition
from tests import captured_models
from tests.captured_models import ARCHITECTURES
from tests.fusion.invariants import violations
from tests.structure_models import module_case


def model(name: str, decomposed: bool) -> Captured:
    return captured_models.decomposed(name) if decomposed else captured_models.captured(name)


def captured(module: nn.Module, *shapes: tuple[int, ...]) -> Captured:
    made = capture(module_case(module.eval(), *shapes))
    assert isinstance(made, Captured), made.render()
    return made


def patterns(report: FusionReport) -> list[str]:
    return [" > ".join(op.partition("[")[0] for op in subgraph.ops) for subgraph in report.subgraphs]


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_node_is_in_one_subgraph_and_subgraphs_are_connected_convex_and_in_order(
    name: str, decomposed: bool
) -> None:
    for attention in (False, True):
        report = partition(model(name, decomposed), attention=attention)
        assert violations(model(name, decomposed), report) == []
        assert report == partition(model(name, decomposed), attention=attention)


def test_the_invariants_see_a_broken_partition() -> None:
    graph = captured(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)), (2, 4))
    report = partition(graph)
    first, second = report.subgraphs
    merged = replace(first, members=(0, 2), sources=(1,))
    between = replace(second, members=(1,), sources=(0,))
    assert violations(graph, report) == []
    assert violations(graph, replace(report, subgraphs=(first,))) == ["<linear of 2> is in 0 subgraphs"]
    assert "subgraphs are not in the order of their first operator" in violations(
        graph, replace(report, subgraphs=(second, first))
    )
    assert violations(graph, replace(report, subgraphs=(merged, between))) == [
        "#0 is not connected",
        "a cycle through [0, 1]",
    ]


@pytest.mark.parametrize("name", ["bert", "resnet"])
def test_the_same_model_gives_the_same_report(name: str) -> None:
    again = capture(ARCHITECTURES[name].case())
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


class Positions(nn.Module):
    """`x` times its own integer part after `add`."""

    def __init__(self, add: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype = torch.int64) -> None:
        super().__init__()
        self.add, self.dtype = add, dtype

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.add(x.neg().to(self.dtype))


NOTHING_ADDED = {
    "x + 0": lambda x: x + 0,
    "0 + x": lambda x: 0 + x,
    "torch.add": lambda x: torch.add(x, 0, alpha=3),
    "twice": lambda x: 0 + (x + 0),
    "keyword": lambda x: torch.add(input=x, other=0),
    "in place": lambda x: x.add_(0),
}
SOMETHING_ADDED = {
    "one": (lambda x: x + 1, torch.int64),
    "False": (lambda x: x + False, torch.int64),
    "0.0 makes floats": (lambda x: x + 0.0, torch.int64),
    "bools become integers": (lambda x: x + 0, torch.bool),
    "floats lose the sign of zero": (lambda x: x + 0, torch.float32),
    "a tensor that broadcasts": (lambda x: x + torch.zeros(3, 1, 1, dtype=torch.int64), torch.int64),
}


@pytest.mark.parametrize("how", ["export", "symbolic_trace"])
@pytest.mark.parametrize("form", NOTHING_ADDED)
def test_an_integer_zero_added_to_integers_is_no_compute_node(form: str, how: How) -> None:
    made = capture(module_case(Positions(NOTHING_ADDED[form]), (2, 4)), how=how)
    assert isinstance(made, Captured), made.render()
    assert [op for subgraph in partition(made).subgraphs for op in subgraph.ops][1:] in (
        ["_to_copy", "mul"],
        ["to", "mul"],
    )


@pytest.mark.parametrize("how", ["export", "symbolic_trace"])
def test_an_arange_that_is_made_again_is_the_first_one(how: How) -> None:
    class Ranges(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, again, shifted = torch.arange(x.size(1)), torch.arange(0, x.size(1)), torch.arange(1, x.size(1) + 1)
            return x * first + again.float() * shifted

    made = capture(module_case(Ranges(), (2, 4)), how=how)
    assert isinstance(made, Captured), made.render()
    assert sum("arange" in op for subgraph in partition(made).subgraphs for op in subgraph.ops) == 2


@pytest.mark.parametrize("form", SOMETHING_ADDED)
def test_an_addition_that_changes_values_or_dtype_is_a_compute_node(form: str) -> None:
    report = partition(captured(Positions(*SOMETHING_ADDED[form]), (2, 4)))
    assert [op for subgraph in report.subgraphs for op in subgraph.ops].count("add") == 1


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


def test_a_join_is_a_boundary_and_so_is_a_grouped_reader() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)

    report = partition(captured(Join(), (2, 4)))
    assert [(subgraph.form, subgraph.boundary) for subgraph in report.subgraphs] == [
        ("linear > add", "output"),
        ("linear", "join"),
    ]
    assert report.boundary_counts == {"join": 1, "output": 1}
    assert report.pattern_counts == {"projection epilogue": 1, "single": 1}


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
        ", view > transpose[dim0=1 dim1=2]) > matmul > transpose[dim0=1 dim1=2] > clone > _unsafe_view"
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
