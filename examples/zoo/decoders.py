"""Decoder-only language models: GPT-2, SmolLM2 (Llama's architecture with grouped-query attention), Phi-2.

MODELCHECK_PHI2_LAYERS=32 builds all layers of Phi-2 (2.8 billion parameters, 11 GB); the default is 2 at full width.
"""

from __future__ import annotations

import os
from functools import partial

from examples.zoo.building import transformers_model
from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import TEXT_AXES, text

PHI2_LAYERS = int(os.environ.get("MODELCHECK_PHI2_LAYERS", "2"))

GPT2 = ZooModel(
    name="gpt2",
    build=partial(transformers_model, "GPT2LMHeadModel", "gpt2", use_cache=False),
    inputs=partial(text, vocabulary=50257),
    dynamic_axes=TEXT_AXES,
    output_names=("logits",),
)
SMOLLM2 = ZooModel(
    name="smollm2-135m",
    build=partial(
        transformers_model,
        "LlamaForCausalLM",
        "HuggingFaceTB/SmolLM2-135M",
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        use_cache=False,
    ),
    inputs=partial(text, vocabulary=49152),
    dynamic_axes=TEXT_AXES,
    output_names=("logits",),
)
PHI2 = ZooModel(
    name=f"phi-2-{PHI2_LAYERS}-layers",
    build=partial(
        transformers_model,
        "PhiForCausalLM",
        "microsoft/phi-2",
        vocab_size=51200,
        hidden_size=2560,
        intermediate_size=10240,
        num_hidden_layers=PHI2_LAYERS,
        num_attention_heads=32,
        partial_rotary_factor=0.4,
        use_cache=False,
    ),
    inputs=partial(text, vocabulary=51200),
    dynamic_axes=TEXT_AXES,
    output_names=("logits",),
)
MODELS = (GPT2, SMOLLM2, PHI2)
