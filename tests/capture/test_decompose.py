"""Attention written out: the same numbers, other operators."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pytest_modelcheck.capture import (
    Captured,
    capture,
    compare_outputs,
    compare_runs,
    decompose,
    written_out_attention,
)
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase
from tests import captured_models
from tests.captured_models import ARCHITECTURES
from tests.structure_models import module_case


def scaled_difference(got: tuple[torch.Tensor, ...], wanted: tuple[torch.Tensor, ...]) -> float:
    """max |got - wanted| / max(1, max |wanted|) over all outputs."""
    difference = compare_outputs(wanted, got).difference
    assert difference is not None
    return difference


def captured(case: ModelCase) -> Captured:
    made = capture(case)
    assert isinstance(made, Captured), made.render()
    return made


def names(made: Captured) -> list[str]:
    return [str(node.target) for node in made.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_decomposed_architecture_computes_the_same(name: str) -> None:
    compared = compare_runs(captured_models.captured(name), captured_models.decomposed(name))
    assert compared.difference is not None
    assert compared.difference <= 1e-5
    assert not any("scaled_dot_product" in target for target in names(captured_models.decomposed(name)))


def test_linear_stays_whole_and_the_matmuls_and_the_softmax_appear() -> None:
    found = names(captured_models.decomposed("bert"))
    assert found.count("aten.linear.default") == 13
    assert found.count("aten.matmul.default") == 4
    assert found.count("aten.softmax.int") == 2


class Multihead(nn.Module):
    """nn.MultiheadAttention with these options, called in this way."""

    def __init__(self, options: dict[str, Any], call: dict[str, Any]) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, **({"batch_first": True} | options))
        self.call = call

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        made: tuple[torch.Tensor | None, ...] = self.attention(query, key, value, **self.call)
        return made


WHOLE = {"need_weights": False}
PADDING = torch.tensor([[False, False, True]])
CAUSAL = torch.ones(4, 3, dtype=torch.bool).triu(1)
SAME, CROSS = ((1, 4, 16),) * 3, ((1, 4, 16), (1, 3, 16), (1, 3, 16))
BATCH_SECOND = ((4, 2, 16), (3, 2, 16), (3, 2, 16))
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[tuple[int, ...], ...]]] = {
    "self": ({}, WHOLE, SAME),
    "cross": ({}, WHOLE, CROSS),
    "weights": ({}, {}, CROSS),
    "weights-per-head": ({}, {"average_attn_weights": False}, CROSS),
    "batch-second": ({"batch_first": False}, WHOLE, BATCH_SECOND),
    "batch-second-weights": ({"batch_first": False}, {}, BATCH_SECOND),
    "unbatched": ({}, WHOLE, ((4, 16), (3, 16), (3, 16))),
    "no-bias": ({"bias": False}, WHOLE, CROSS),
    "kdim-vdim": ({"kdim": 8, "vdim": 6}, WHOLE, ((1, 4, 16), (1, 3, 8), (1, 3, 6))),
    "kdim-vdim-weights": ({"kdim": 8, "vdim": 6}, {}, ((1, 4, 16), (1, 3, 8), (1, 3, 6))),
    "padding": ({}, WHOLE | {"key_padding_mask": PADDING}, CROSS),
    "boolean-mask": ({}, WHOLE | {"attn_mask": CAUSAL}, CROSS),
    "additive-mask": ({}, WHOLE | {"attn_mask": torch.randn(4, 3)}, CROSS),
    "both-masks-weights": ({}, {"attn_mask": CAUSAL, "key_padding_mask": PADDING}, CROSS),
    "causal": ({}, WHOLE | {"attn_mask": torch.ones(4, 4).triu(1).bool(), "is_causal": True}, SAME),
    "bias-kv": ({"add_bias_kv": True}, WHOLE, CROSS),
    "zero-attention": ({"add_zero_attn": True}, WHOLE, CROSS),
    "dropout": ({"dropout": 0.5}, WHOLE, CROSS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_multihead_attention_is_written_out_with_the_modules_numbers(form: str) -> None:
    options, call, shapes = FORMS[form]
    module = Multihead(options, call).eval()
    made = captured(module_case(module, *shapes))
    decomposed = decompose(made)
    with torch.no_grad():
        wanted = [tensor for tensor in module(*made.inputs.values) if tensor is not None]
    compared = compare_outputs(wanted, decomposed.run())
    assert compared.difference is not None
    assert compared.difference <= 1e-5
    found = names(decomposed)
    assert sum("softmax" in name for name in found) == 1
    assert not [name for name in found if "scaled_dot_product" in name or "_native_" in name]


def test_an_encoder_layer_does_not_take_the_kernel_that_hides_it() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    found = names(decompose(captured(module_case(layer, (1, 4, 16)))))
    assert found.count("aten.softmax.int") == 1
    assert found.count("aten.linear.default") == 4


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
    made, decomposed = captured_models.captured("bert"), captured_models.decomposed("bert")
    assert made.program is not None
    assert decomposed.program is not None
    for name, tensor in made.program.state_dict.items():
        assert decomposed.program.state_dict[name].data_ptr() == tensor.data_ptr()


def test_dropout_in_attention_cannot_be_written_out() -> None:
    query = torch.randn(1, 1, 2, 4)
    with pytest.raises(ModelCaseError, match="eval mode"):
        written_out_attention(query, query, query, dropout_p=0.1)


class Branching(nn.Module):
    """Attention inside a branch."""

    def forward(self, query: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.cond(
            query.sum() > 0, lambda x: scaled_dot_product_attention(x, x, x), lambda x: x.sin(), (query,)
        )
        return made


def test_attention_inside_a_branch_is_written_out() -> None:
    decomposed = decompose(captured(module_case(Branching(), (1, 2, 4, 8))))
    graphs = [module for module in decomposed.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]
    inside = [str(node.target) for graph in graphs for node in graph.graph.nodes]
    assert "aten.softmax.int" in inside
    assert not any("scaled_dot_product" in name for name in inside)


def test_a_program_without_attention_stays_the_same_object() -> None:
    made = captured(module_case(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), (2, 4)))
    decomposed = decompose(made)
    assert decomposed.program is made.program
    assert decomposed.decomposed
    assert compare_runs(made, decomposed).difference == 0.0
