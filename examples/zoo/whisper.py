"""Whisper-tiny and -base: the encoder of 30 s of sound, and the decoder with its cross-attention."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from examples.zoo.building import transformers_model
from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import BATCH, normal, text

if TYPE_CHECKING:
    import torch

FRAMES = 1500
"""Encoder states of 30 s."""

TINY: dict[str, Any] = {
    "d_model": 384,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 6,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "decoder_ffn_dim": 1536,
}
BASE: dict[str, Any] = {
    "d_model": 512,
    "encoder_layers": 6,
    "decoder_layers": 6,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
}


def half(part: str, pretrained: str, config: dict[str, Any]) -> torch.nn.Module:
    """The ``"encoder"`` or the ``"decoder"`` of a Whisper model."""
    model: Any = transformers_model("WhisperModel", pretrained, **config, use_cache=False)
    model.config.use_cache = False
    return getattr(model, part)


def encoder_inputs(seed: int) -> dict[str, torch.Tensor]:
    """One log-mel spectrogram of 30 s: (1, 80, 3000) float32."""
    return {"input_features": normal(seed, 1, 80, 2 * FRAMES)}


def decoder_inputs(seed: int, width: int) -> dict[str, torch.Tensor]:
    """What was decoded so far, and the encoder's states: (batch, 1500, width) float32."""
    return {**text(seed, 51865), "encoder_hidden_states": normal(seed + 1000, BATCH, FRAMES, width)}


def _encoder(name: str, pretrained: str, config: dict[str, Any]) -> ZooModel:
    return ZooModel(
        name=f"{name}-encoder",
        build=partial(half, "encoder", pretrained, config),
        inputs=encoder_inputs,
        output_names=("last_hidden_state",),
    )


def _decoder(name: str, pretrained: str, config: dict[str, Any]) -> ZooModel:
    return ZooModel(
        name=f"{name}-decoder",
        build=partial(half, "decoder", pretrained, config),
        inputs=partial(decoder_inputs, width=config["d_model"]),
        dynamic_axes={
            "input_ids": {0: "batch", 1: "sequence"},
            "attention_mask": {0: "batch", 1: "sequence"},
            "encoder_hidden_states": {0: "batch"},
        },
        output_names=("last_hidden_state",),
    )


TINY_ENCODER = _encoder("whisper-tiny", "openai/whisper-tiny", TINY)
TINY_DECODER = _decoder("whisper-tiny", "openai/whisper-tiny", TINY)
BASE_ENCODER = _encoder("whisper-base", "openai/whisper-base", BASE)
BASE_DECODER = _decoder("whisper-base", "openai/whisper-base", BASE)
MODELS = (TINY_ENCODER, TINY_DECODER, BASE_ENCODER, BASE_DECODER)
