"""Attention written out: the same numbers, other operators."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pytest_modelcheck.capture import Captured, capture, decompose, written_out_attention
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import albert_case, bert_case, cross_case, module_case


def scaled_difference(got: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> float:
    """max |got - wanted| / max(1, max |wanted|) over all outputs; NaN where either has one."""
    pairs = list(zip(got, wanted, strict=True))
    return max(float((a - b).abs().max() / max(1.0, float(b.abs().max()))) for a, b in pairs)


def captured(case: ModelCase) -> Captured:
    made = capture(case)
    assert isinstance(made, Captured), made.render()
    return made


def names(made: Captured) -> list[str]:
    return [str(node.target) for node in made.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("make", [bert_case, albert_case, cross_case])
def test_a_decomposed_model_computes_the_same(make: Callable[[], ModelCase]) -> None:
    made = captured(make())
    decomposed = decompose(made)
    assert decomposed.decomposed
    assert scaled_difference(decomposed.run(), made.run()) <= 1e-5
    assert not any("scaled_dot_product" in name for name in names(decomposed))


def test_linear_stays_whole_and_the_matmuls_and_the_softmax_appear() -> None:
    found = names(decompose(captured(bert_case())))
    assert found.count("aten.linear.default") == 13
    assert found.count("aten.matmul.default") == 4
    assert found.count("aten.softmax.int") == 2


class Attend(nn.Module):
    """scaled_dot_product_attention of its inputs, with fixed options."""

    def __init__(self, mask: torch.Tensor | None = None, **options: object) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.options = options

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(query, key, value, self.mask, **self.options)  # type: ignore[arg-type]


BOOL_MASK = torch.tensor([[True, True, False], [True, False, False], [True, True, True], [False, True, True]])
FLOAT_MASK = torch.zeros(4, 3).masked_fill(~BOOL_MASK, -math.inf)


@pytest.mark.parametrize(
    ("module", "shapes"),
    [
        (Attend(), ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8))),
        (Attend(), ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 5))),
        (Attend(is_causal=True), ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8))),
        (Attend(is_causal=True), ((1, 2, 4, 8), (1, 2, 6, 8), (1, 2, 6, 8))),
        (Attend(scale=0.5), ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8))),
        (Attend(BOOL_MASK), ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8))),
        (Attend(FLOAT_MASK), ((1, 2, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8))),
        (Attend(enable_gqa=True), ((1, 4, 4, 8), (1, 2, 3, 8), (1, 2, 3, 8))),
        (Attend(), ((4, 8), (3, 8), (3, 8))),
    ],
    ids=["plain", "narrow-v", "causal", "causal-longer", "scale", "bool-mask", "float-mask", "grouped", "2d"],
)
def test_every_form_of_attention_is_written_out_with_the_same_numbers(
    module: nn.Module, shapes: tuple[tuple[int, ...], ...]
) -> None:
    made = captured(module_case(module, *shapes))
    decomposed = decompose(made)
    assert not any("scaled_dot_product" in name for name in names(decomposed))
    assert scaled_difference(decomposed.run(), made.run()) <= 1e-5


def test_a_row_whose_mask_leaves_nothing_is_zero_as_in_the_kernel() -> None:
    query = torch.randn(1, 1, 2, 4)
    mask = torch.tensor([[True, False], [False, False]])
    got = written_out_attention(query, query, query, mask)
    assert torch.allclose(got, scaled_dot_product_attention(query, query, query, mask))
    assert torch.equal(got[0, 0, 1], torch.zeros(4))


def test_a_wrong_scale_is_seen_by_the_comparison() -> None:
    made = captured(module_case(Attend(), *[(1, 2, 4, 8)] * 3))
    other = captured(module_case(Attend(scale=0.9), *[(1, 2, 4, 8)] * 3))
    assert scaled_difference(decompose(other).run(), made.run()) > 1e-5


def test_weights_are_shared_with_the_capture() -> None:
    made = captured(bert_case())
    decomposed = decompose(made)
    assert made.program is not None
    assert decomposed.program is not None
    for name, tensor in made.program.state_dict.items():
        assert decomposed.program.state_dict[name].data_ptr() == tensor.data_ptr()


def test_dropout_in_attention_cannot_be_written_out() -> None:
    query = torch.randn(1, 1, 2, 4)
    with pytest.raises(ModelCaseError, match="eval mode"):
        written_out_attention(query, query, query, dropout_p=0.1)
