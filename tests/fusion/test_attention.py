"""Q, K and V by data flow: every attention is found, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_modelcheck.capture import Captured, capture, decompose
from pytest_modelcheck.fusion import FusionReport, partition
from pytest_modelcheck.model_case import ModelCase
from tests.captured_models import ARCHITECTURES, captured, decomposed
from tests.fusion.attention_modules import DECOYS, Attention, LatentAttention
from tests.structure_models import module_case


def report(case: ModelCase, *, written_out: bool) -> FusionReport:
    made = capture(case)
    assert isinstance(made, Captured), made.render()
    return partition(decompose(made) if written_out else made)


def model_report(name: str, is_decomposed: bool) -> FusionReport:
    return partition(decomposed(name) if is_decomposed else captured(name))


def groups(found: FusionReport) -> list[int]:
    return [len(subgraph.ops) for subgraph in found.subgraphs if subgraph.pattern == "qkv"]


SHAPES = ((1, 5, 16), (1, 6, 16))


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(
    ("form", "grouped"),
    [
        ("self", [3]),
        ("cross", [2]),
        ("packed", []),
        ("packed_by_index", []),
        ("shared", []),
        ("normed", [3]),
        ("rotary", [3]),
        ("rotary_by_matmul", [3]),
        ("normed_by_one_more", [3]),
        ("unit_length", [3]),
    ],
)
def test_every_form_of_attention_is_one_layer_with_its_projections(form: str, eager: bool, grouped: list[int]) -> None:
    found = report(module_case(Attention(form, eager).eval(), *SHAPES), written_out=not eager)
    assert (found.attention_layers, found.qkv) == (1, 1)
    assert found.unfused == ()
    assert groups(found) == grouped


@pytest.mark.parametrize("form", ["capped", "columns"])
def test_a_soft_cap_and_a_product_by_columns_are_attention(form: str) -> None:
    found = report(module_case(Attention(form, eager=True).eval(), *SHAPES), written_out=True)
    assert (found.attention_layers, found.qkv, found.unfused, groups(found)) == (1, 1, (), [3])


@pytest.mark.parametrize("written_out", [False, True])
def test_a_key_that_is_written_part_by_part_is_of_the_projection_that_reads_the_other(written_out: bool) -> None:
    found = report(module_case(LatentAttention().eval(), (1, 5, 16)), written_out=written_out)
    assert (found.attention_layers, found.qkv, found.unfused) == (1, 1, ())
    apart = report(module_case(LatentAttention(apart=True).eval(), (1, 5, 16)), written_out=written_out)
    assert (apart.qkv, apart.unfused) == (0, (("", "2 projections behind K"),))


def test_two_projections_behind_q_are_not_grouped() -> None:
    found = report(module_case(Attention("two_queries", eager=False).eval(), *SHAPES), written_out=True)
    assert (found.attention_layers, found.qkv, found.unfused) == (1, 0, (("", "2 projections behind Q"),))


@pytest.mark.parametrize("decomposed", [False, True])
def test_projections_by_parts_of_one_packed_weight_are_projections(decomposed: bool) -> None:
    """Cross-attention by nn.MultiheadAttention: Q by one part of the packed weight, K and V by the other."""

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.attention(x, y, y, need_weights=False)[0]

    found = report(module_case(Cross().eval(), *SHAPES), written_out=decomposed)
    assert (found.attention_layers, found.qkv, found.unfused) == (1, 1, ())


@pytest.mark.parametrize("decomposed", [False, True])
def test_grouped_query_attention_is_one_layer(decomposed: bool) -> None:
    found = report(module_case(Attention("grouped", False).eval(), *SHAPES), written_out=decomposed)
    assert (found.attention_layers, found.qkv) == (1, 1)


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("name", ["bert", "bert-eager"])
def test_bert_has_one_group_of_three_per_layer(name: str, decomposed: bool) -> None:
    assert groups(model_report(name, decomposed)) == [3, 3]


def test_a_shared_layer_counts_once_per_call() -> None:
    assert groups(model_report("albert", False)) == [3, 3, 3]


def test_cross_attention_groups_k_and_v_alone() -> None:
    assert groups(model_report("whisper-decoder", True)) == [3, 2, 3, 2]


def test_a_packed_projection_is_no_group_of_its_own() -> None:
    assert groups(model_report("gpt2", True)) == []


def test_three_inputs_cannot_be_grouped_and_the_layer_says_why() -> None:
    found = model_report("cross", False)
    assert (found.attention_layers, found.qkv) == (1, 0)
    assert found.unfused == (("attention", "Q, K and V read three different inputs"),)


class Positioned(nn.Module):
    """Cross-attention as in DETR: positions are added to what the queries and the keys are made of, not the values."""

    def __init__(self, other: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.at_x, self.at_y = nn.Parameter(torch.rand(5, 16)), nn.Parameter(torch.rand(6, 16))
        self.other = other

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        values = torch.tanh(y) if self.other else y
        heads = (self.q(x + self.at_x), self.k(y + self.at_y), self.v(values))
        q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in heads)
        return nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("written_out", [False, True])
def test_keys_with_positions_and_values_without_are_of_one_input(written_out: bool) -> None:
    found = report(module_case(Positioned().eval(), *SHAPES), written_out=written_out)
    assert (found.attention_layers, found.qkv, found.unfused) == (1, 1, ())
    found = report(module_case(Positioned(other=True).eval(), *SHAPES), written_out=written_out)
    assert (found.qkv, found.unfused) == (0, (("", "Q, K and V read three different inputs"),))


def test_attention_without_projections_is_found_and_not_counted_as_grouped() -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x @ x.transpose(-2, -1), -1) @ x

    found = report(module_case(Bare(), (1, 5, 16)), written_out=False)
    assert (found.attention_layers, found.qkv) == (1, 0)
    assert found.unfused == (("", "no projection behind Q"),)


# -- decoys: nothing here is attention ------------------------------------------------------------------------------


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("decoy", DECOYS)
def test_what_only_looks_like_attention_is_not_grouped(decoy: type[nn.Module], decomposed: bool) -> None:
    found = report(module_case(decoy().eval(), (1, 5, 16)), written_out=decomposed)
    assert (found.attention_layers, found.qkv, groups(found)) == (0, 0, [])


# -- transformers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "cross"])
def test_every_attention_layer_of_an_architecture_is_found_and_grouped(name: str, decomposed: bool) -> None:
    found = model_report(name, decomposed)
    layers = ARCHITECTURES[name].attention_layers
    assert (found.attention_layers, found.qkv) == (layers, layers), found.unfused
    assert len(groups(found)) <= layers
