"""Q, K and V by data flow: every attention is found, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from pytest_modelcheck.capture import Captured, capture, decompose
from pytest_modelcheck.fusion import FusionReport, partition
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import (
    albert_case,
    bert_case,
    cross_case,
    image_inputs,
    module_case,
    resnet_case,
    text_inputs,
)


def report(case: ModelCase, *, decomposed: bool) -> FusionReport:
    made = capture(case)
    assert isinstance(made, Captured), made.render()
    return partition(decompose(made) if decomposed else made)


def groups(found: FusionReport) -> list[int]:
    return [len(subgraph.ops) for subgraph in found.subgraphs if subgraph.pattern == "qkv"]


class Attention(nn.Module):
    """Attention in the ways people write it. `form` chooses the projections, `eager` writes the softmax out."""

    def __init__(self, form: str, eager: bool) -> None:
        super().__init__()
        self.form, self.eager = form, eager
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.packed = nn.Linear(16, 48)
        self.narrow = nn.Linear(16, 8)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        q, k, v = getattr(self, f"_{self.form}")(x, y)
        if not self.eager:
            return scaled_dot_product_attention(q, k, v, enable_gqa=self.form == "grouped")
        if self.form == "grouped":
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        return torch.softmax(q @ k.transpose(-2, -1) / 8**0.5, -1) @ v

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.size(0), x.size(1), -1, 8).transpose(1, 2)

    def _self(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return tuple(self._heads(project(x)) for project in (self.query, self.key, self.value))

    def _cross(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self._heads(self.query(x)), self._heads(self.key(y)), self._heads(self.value(y))

    def _packed(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return tuple(self._heads(part) for part in self.packed(x).chunk(3, -1))

    def _packed_by_index(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self.packed(x).view(x.size(0), x.size(1), 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)

    def _shared(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        both = self._heads(self.key(y))
        return self._heads(self.query(x)), both, both

    def _grouped(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self._heads(self.query(x)), self._heads(self.narrow(x)), self._heads(self.narrow(x) * 2)

    def _normed(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self.norm(self._heads(self.query(x))), self.norm(self._heads(self.key(x))), self._heads(self.value(x))

    def _rotary(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        angles = torch.arange(x.size(1))[:, None] * torch.ones(8)
        q, k, v = self._self(x, x)
        rotate = lambda h: h * angles.cos() + torch.cat([-h[..., 4:], h[..., :4]], -1) * angles.sin()  # noqa: E731 - used twice
        return rotate(q), rotate(k), v


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
    ],
)
def test_every_form_of_attention_is_one_layer_with_its_projections(form: str, eager: bool, grouped: list[int]) -> None:
    found = report(module_case(Attention(form, eager).eval(), *SHAPES), decomposed=not eager)
    assert (found.attention_layers, found.qkv) == (1, 1)
    assert found.unfused == ()
    assert groups(found) == grouped


@pytest.mark.parametrize("decomposed", [False, True])
def test_projections_by_parts_of_one_packed_weight_are_projections(decomposed: bool) -> None:
    """Cross-attention by nn.MultiheadAttention: Q by one part of the packed weight, K and V by the other."""

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.attention(x, y, y, need_weights=False)[0]

    found = report(module_case(Cross().eval(), *SHAPES), decomposed=decomposed)
    assert (found.attention_layers, found.qkv, found.unfused) == (1, 1, ())


@pytest.mark.parametrize("decomposed", [False, True])
def test_grouped_query_attention_is_one_layer(decomposed: bool) -> None:
    found = report(module_case(Attention("grouped", False).eval(), *SHAPES), decomposed=decomposed)
    assert (found.attention_layers, found.qkv) == (1, 1)


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_bert_has_one_group_of_three_per_layer(implementation: str, decomposed: bool) -> None:
    found = report(bert_case(attn_implementation=implementation), decomposed=decomposed)
    assert (found.attention_layers, found.qkv, groups(found)) == (2, 2, [3, 3])


def test_a_shared_layer_counts_once_per_call() -> None:
    found = report(albert_case(), decomposed=False)
    assert (found.attention_layers, found.qkv, groups(found)) == (3, 3, [3, 3, 3])


def test_three_inputs_cannot_be_grouped_and_the_layer_says_why() -> None:
    found = report(cross_case(), decomposed=False)
    assert (found.attention_layers, found.qkv) == (1, 0)
    assert found.unfused == (("attention", "Q, K and V read three different inputs"),)


def test_attention_without_projections_is_found_and_not_counted_as_grouped() -> None:
    class Bare(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x @ x.transpose(-2, -1), -1) @ x

    found = report(module_case(Bare(), (1, 5, 16)), decomposed=False)
    assert (found.attention_layers, found.qkv) == (1, 0)
    assert found.unfused == (("", "no projection behind Q"),)


# -- decoys: nothing here is attention ------------------------------------------------------------------------------


class Siblings(nn.Module):
    """Three Linears of one input, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(x) + self.c(x)


class GatedMlp(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))


class ManyHeads(nn.Module):
    """Three classifiers of one feature, one with a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(16, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, second, third = (head(x) for head in self.heads)
        return torch.softmax(first, -1), second, third


class SoftGate(nn.Module):
    """A mixture: a softmax over experts weighs the experts' outputs by a matmul; no Q K^T is anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(16, 4), nn.Linear(16, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.gate(x), -1)
        return (weights.unsqueeze(-2) @ self.experts(x).view(*x.shape[:-1], 4, 16)).squeeze(-2)


class Bilinear(nn.Module):
    """Q K^T without a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.query(x) @ self.key(x).transpose(-2, -1)) @ self.value(x)


@pytest.mark.parametrize("decoy", [Siblings, GatedMlp, ManyHeads, SoftGate, Bilinear])
def test_what_only_looks_like_attention_is_not_grouped(decoy: type[nn.Module]) -> None:
    found = report(module_case(decoy().eval(), (1, 5, 16)), decomposed=False)
    assert (found.attention_layers, found.qkv, groups(found)) == (0, 0, [])


def test_a_convolutional_network_has_no_attention() -> None:
    found = report(resnet_case(), decomposed=False)
    assert (found.attention_layers, found.qkv, groups(found)) == (0, 0, [])


# -- transformers -------------------------------------------------------------------------------------------------


def tiny(name: str) -> tuple[ModelCase, int]:
    """A small model of one architecture, and how many attention layers its configuration has."""
    import transformers as t

    ids = text_inputs(0)["input_ids"]
    small: dict[str, Any] = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    build: Any
    if name == "gpt2":
        build = lambda: t.GPT2Model(t.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=4, use_cache=False))  # noqa: E731
    elif name == "llama":
        config = t.LlamaConfig(**small, intermediate_size=64, num_key_value_heads=2, use_cache=False)
        build = lambda: t.LlamaModel(config)  # noqa: E731
    elif name == "vit":
        config = t.ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
        )
        return ModelCase(name, lambda: t.ViTModel(config), image_inputs, output_names=("last_hidden_state",)), 2
    else:
        config = t.T5Config(
            vocab_size=50,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            use_cache=False,
            decoder_start_token_id=0,
        )
        inputs = {"input_ids": ids, "decoder_input_ids": ids[:, :5]}
        return ModelCase(name, lambda: t.T5Model(config), lambda seed: inputs, output_names=("last_hidden_state",)), 6
    return ModelCase(name, build, lambda seed: {"input_ids": ids}, output_names=("last_hidden_state",)), 2


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize("name", ["gpt2", "llama", "vit", "t5"])
def test_every_attention_layer_of_a_transformer_is_found_and_grouped(name: str, decomposed: bool) -> None:
    case, layers = tiny(name)
    found = report(case, decomposed=decomposed)
    assert (found.attention_layers, found.qkv) == (layers, layers), found.unfused
