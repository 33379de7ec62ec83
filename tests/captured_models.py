"""Small models of every architecture, captured and decomposed once per process: a capture costs a second or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from examples.zoo.jitter import jitter
from pytest_modelcheck.capture import Captured, capture, decompose
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import (
    VOCABULARY,
    albert_case,
    bert_case,
    cross_case,
    image_inputs,
    resnet_case,
    text_inputs,
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A small model, and how many attention layers its configuration has."""

    case: Callable[[], ModelCase]
    attention_layers: int


_STATE = ("last_hidden_state",)


def _transformer(model: str, inputs: Callable[[int], Any] = text_inputs, part: str = "", **config: Any) -> ModelCase:
    """A transformers model from its configuration, without a cache."""

    def build() -> nn.Module:
        import transformers

        architecture: Any = getattr(transformers, model)
        made = architecture(architecture.config_class(**config))
        if not part:
            return jitter(made)
        made.config.use_cache = False
        return jitter(getattr(made, part))

    return ModelCase(model, build, inputs, output_names=_STATE)


def _sequences(seed: int) -> dict[str, torch.Tensor]:
    return text_inputs(seed) | {"decoder_input_ids": text_inputs(seed + 1)["input_ids"][:, :5]}


def _sound(seed: int) -> dict[str, torch.Tensor]:
    return {"input_features": torch.randn(1, 8, 40, generator=torch.Generator().manual_seed(seed))}


def _words_and_sound(seed: int) -> dict[str, torch.Tensor]:
    states = torch.randn(1, 20, 32, generator=torch.Generator().manual_seed(seed))
    return {"input_ids": text_inputs(seed)["input_ids"], "encoder_hidden_states": states}


_SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_IMAGE: dict[str, Any] = {name: value for name, value in _SMALL.items() if name != "vocab_size"}
_IMAGE |= {"image_size": 32, "patch_size": 8}
_SEQ2SEQ: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "use_cache": False,
}
_WHISPER: dict[str, Any] = _SEQ2SEQ | {
    "num_mel_bins": 8,
    "max_source_positions": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_T5: dict[str, Any] = {"vocab_size": VOCABULARY, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_T5 |= {"use_cache": False, "decoder_start_token_id": 0}
_GPT2: dict[str, Any] = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "use_cache": False}
_DISTIL: dict[str, Any] = {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
_MOBILEVIT: dict[str, Any] = {
    "image_size": 32,
    "hidden_sizes": [16, 16, 16],
    "neck_hidden_sizes": [4, 4, 4, 8, 8, 8, 8],
    "num_attention_heads": 4,
}

ARCHITECTURES: dict[str, Architecture] = {
    "bert": Architecture(bert_case, 2),
    "bert-eager": Architecture(partial(bert_case, attn_implementation="eager"), 2),
    "albert": Architecture(albert_case, 3),
    "roberta": Architecture(partial(_transformer, "RobertaModel", **_SMALL, max_position_embeddings=20), 2),
    "distilbert": Architecture(partial(_transformer, "DistilBertModel", **_DISTIL), 2),
    "gpt2": Architecture(partial(_transformer, "GPT2Model", **_GPT2), 2),
    "llama": Architecture(partial(_transformer, "LlamaModel", **_SMALL, num_key_value_heads=2, use_cache=False), 2),
    "phi": Architecture(partial(_transformer, "PhiModel", **_SMALL, use_cache=False), 2),
    "t5": Architecture(partial(_transformer, "T5Model", _sequences, **_T5), 6),
    "bart": Architecture(partial(_transformer, "BartModel", _sequences, **_SEQ2SEQ, max_position_embeddings=20), 6),
    "whisper-encoder": Architecture(partial(_transformer, "WhisperModel", _sound, "encoder", **_WHISPER), 2),
    "whisper-decoder": Architecture(partial(_transformer, "WhisperModel", _words_and_sound, "decoder", **_WHISPER), 4),
    "vit": Architecture(partial(_transformer, "ViTModel", image_inputs, **_IMAGE), 2),
    "deit": Architecture(partial(_transformer, "DeiTModel", image_inputs, **_IMAGE), 2),
    "mobilevit": Architecture(partial(_transformer, "MobileViTModel", image_inputs, **_MOBILEVIT), 9),
    "resnet": Architecture(resnet_case, 0),
    "cross": Architecture(cross_case, 1),
}
"""All are grouped but the one of ``cross``, whose Q, K and V read three inputs."""


@cache
def captured(name: str) -> Captured:
    """The model of this name by torch.export."""
    made = capture(ARCHITECTURES[name].case())
    assert isinstance(made, Captured), made.render()
    return made


@cache
def decomposed(name: str) -> Captured:
    """The same with attention written out."""
    return decompose(captured(name))
