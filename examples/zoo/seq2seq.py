"""T5-small and BART-base with their language heads: encoder and decoder in one graph, three dynamic dimensions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from examples.zoo.building import transformers_model
from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import BATCH, TEXT_AXES, text, token_ids

if TYPE_CHECKING:
    import torch

TARGET_SEQUENCE = 8
AXES = {**TEXT_AXES, "decoder_input_ids": {0: "batch", 1: "target_sequence"}}


def inputs(seed: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """A padded source text, and what was decoded so far."""
    decoded = token_ids(seed + 1000, vocabulary, BATCH, TARGET_SEQUENCE)
    return {**text(seed, vocabulary), "decoder_input_ids": decoded}


T5_SMALL = ZooModel(
    name="t5-small",
    build=partial(transformers_model, "T5ForConditionalGeneration", "t5-small", use_cache=False),
    inputs=partial(inputs, vocabulary=32128),
    dynamic_axes=AXES,
    output_names=("logits",),
)
BART_BASE = ZooModel(
    name="bart-base",
    build=partial(
        transformers_model,
        "BartForConditionalGeneration",
        "facebook/bart-base",
        d_model=768,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=12,
        decoder_attention_heads=12,
        encoder_ffn_dim=3072,
        decoder_ffn_dim=3072,
        use_cache=False,
    ),
    inputs=partial(inputs, vocabulary=50265),
    dynamic_axes=AXES,
    output_names=("logits",),
)
MODELS = (T5_SMALL, BART_BASE)
