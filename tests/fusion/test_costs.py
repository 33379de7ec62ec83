"""FLOPs as torch counts them, and the bytes that a fused kernel need not write."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from pytest_modelcheck.capture import Captured, capture
from pytest_modelcheck.fusion import partition
from tests.captured_models import captured, decomposed
from tests.structure_models import module_case


def torch_flops(made: Captured) -> int:
    """What torch's counter says of a real run."""

    def attention(query, key, value, *_, out_shape=None, **__):  # type: ignore[no-untyped-def]
        return sdpa_flop_count(query, key, value)

    on_cpu = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    with FlopCounterMode(display=False, custom_mapping=on_cpu) as counter:
        made.run()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", ["bert", "gpt2", "resnet", "t5", "cross"])
def test_flops_are_those_that_torch_counts_in_a_run(name: str) -> None:
    report = partition(captured(name))
    assert report.flops == torch_flops(captured(name)) > 0
    assert partition(decomposed(name)).flops == report.flops


def made_of(module: nn.Module, *shapes: tuple[int, ...], how: str = "export") -> Captured:
    made = capture(module_case(module.eval(), *shapes), how=how)  # type: ignore[arg-type]
    assert isinstance(made, Captured), made.render()
    return made


def test_a_linear_costs_two_per_multiply_add_and_an_activation_nothing() -> None:
    (subgraph,) = partition(made_of(nn.Sequential(nn.Linear(8, 16), nn.ReLU()), (3, 8))).subgraphs
    assert subgraph.flops == 2 * 3 * 8 * 16


def test_results_that_stay_inside_are_saved_and_those_read_outside_are_not() -> None:
    report = partition(made_of(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), (3, 8)))
    assert [subgraph.ops for subgraph in report.subgraphs] == [("linear", "gelu"), ("linear",)]
    assert [subgraph.internal_bytes for subgraph in report.subgraphs] == [3 * 16 * 4, 0]
    assert report.internal_bytes == 3 * 16 * 4


def test_a_view_inside_a_subgraph_saves_nothing() -> None:
    class Views(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(2, 2, 4).transpose(0, 1)

    (subgraph,) = partition(made_of(Views(), (4, 4))).subgraphs
    assert (subgraph.ops[0], subgraph.internal_bytes) == ("view", 0)


def test_fused_attention_keeps_scores_and_weights_inside() -> None:
    report = partition(decomposed("bert-eager"))
    scores = 1 * 4 * 12 * 12 * 4  # batch x heads x queries x keys x bytes
    (attention, *_) = [subgraph for subgraph in report.subgraphs if "softmax" in subgraph.form]
    assert attention.internal_bytes is not None
    assert attention.internal_bytes >= 3 * scores


def test_a_size_that_depends_on_data_leaves_the_total_unknown_and_not_zero() -> None:
    class Found(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nonzero(x).float() @ torch.ones(2, 3)

    report = partition(made_of(Found(), (4, 4)))
    assert report.flops is None
    assert report.internal_bytes is None


def test_a_symbolic_trace_has_costs_too() -> None:
    traced = made_of(nn.Sequential(nn.Linear(8, 16), nn.ReLU()), (3, 8), how="symbolic_trace")
    assert partition(traced).flops == 2 * 3 * 8 * 16
