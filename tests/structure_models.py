"""Small models whose structure the tests of hierarchy, capture and fusion look at. Weights are jittered: equal initial
tensors would be merged by the exporters, which hides whose they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from examples.zoo.jitter import jitter
from pytest_modelcheck.model_case import Exporter, ModelCase

VOCABULARY = 50


def text_inputs(seed: int) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask: (1, 12) int64; the last two positions are masked out."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(1, 12, dtype=torch.int64)
    mask[:, -2:] = 0
    return {"input_ids": torch.randint(0, VOCABULARY, (1, 12), generator=generator), "attention_mask": mask}


def bert_case(exporter: Exporter = "dynamo", *, layers: int = 2, **config: Any) -> ModelCase:
    def build() -> nn.Module:
        from transformers import BertConfig, BertModel

        sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": VOCABULARY}
        return jitter(BertModel(BertConfig(num_hidden_layers=layers, **(sizes | config))))

    outputs = ("last_hidden_state", "pooler_output")
    return ModelCase("bert", build, text_inputs, exporter=exporter, output_names=outputs)


def albert_case(exporter: Exporter = "dynamo") -> ModelCase:
    """One layer, called three times."""

    def build() -> nn.Module:
        from transformers import AlbertConfig, AlbertModel

        sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": VOCABULARY}
        return jitter(AlbertModel(AlbertConfig(num_hidden_layers=3, embedding_size=16, **sizes)))

    outputs = ("last_hidden_state", "pooler_output")
    return ModelCase("albert", build, text_inputs, exporter=exporter, output_names=outputs)


def resnet_case(exporter: Exporter = "dynamo") -> ModelCase:
    def build() -> nn.Module:
        from transformers import ResNetConfig, ResNetForImageClassification

        config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], num_labels=5)
        return jitter(ResNetForImageClassification(config))

    return ModelCase("resnet", build, image_inputs, exporter=exporter, output_names=("logits",))


def swin_case(exporter: Exporter = "dynamo") -> ModelCase:
    """Its position biases depend on no input: dynamo folds whole modules of it into initializers."""

    def build() -> nn.Module:
        from transformers import SwinConfig, SwinModel

        return jitter(SwinModel(SwinConfig(image_size=32, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4)))

    return ModelCase("swin", build, image_inputs, exporter=exporter, output_names=("last_hidden_state",))


def image_inputs(seed: int) -> dict[str, torch.Tensor]:
    """pixel_values: (1, 3, 32, 32) float32."""
    return {"pixel_values": torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))}


class CrossAttention(nn.Module):
    """Queries, keys and values of three sources and three widths, through `nn.MultiheadAttention`."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, kdim=12, vdim=10, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(query, key, value)
        return self.norm(attended + query)


def cross_case(exporter: Exporter = "dynamo") -> ModelCase:
    def inputs(seed: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(1, 5, width, generator=generator) for width in (16, 12, 10))

    return ModelCase("cross", lambda: jitter(CrossAttention()), inputs, exporter=exporter)


def module_case(
    module: nn.Module, *shapes: tuple[int, ...], exporter: Exporter = "dynamo", name: str = "m"
) -> ModelCase:
    """A case around a module that is already built; float inputs of these shapes."""

    def inputs(seed: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(shape, generator=generator) for shape in shapes)

    return ModelCase(name, lambda: module, inputs, exporter=exporter)
