"""BERT-large, DistilBERT, RoBERTa-base and ALBERT-base-v2: encoders of text, dynamic batch and sequence."""

from __future__ import annotations

from functools import partial

from examples.zoo.building import transformers_model
from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import TEXT_AXES, text

BERT_LARGE = ZooModel(
    name="bert-large",
    build=partial(
        transformers_model,
        "BertModel",
        "bert-large-uncased",
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
    ),
    inputs=partial(text, vocabulary=30522),
    dynamic_axes=TEXT_AXES,
    output_names=("last_hidden_state", "pooler_output"),
)
DISTILBERT = ZooModel(
    name="distilbert",
    build=partial(transformers_model, "DistilBertModel", "distilbert-base-uncased"),
    inputs=partial(text, vocabulary=30522),
    dynamic_axes=TEXT_AXES,
    output_names=("last_hidden_state",),
)
ROBERTA = ZooModel(
    name="roberta-base",
    build=partial(
        transformers_model,
        "RobertaModel",
        "roberta-base",
        vocab_size=50265,
        max_position_embeddings=514,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
    ),
    inputs=partial(text, vocabulary=50265),
    dynamic_axes=TEXT_AXES,
    output_names=("last_hidden_state", "pooler_output"),
)
ALBERT = ZooModel(
    name="albert-base-v2",
    build=partial(
        transformers_model,
        "AlbertModel",
        "albert-base-v2",
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu_new",
    ),
    inputs=partial(text, vocabulary=30000),
    dynamic_axes=TEXT_AXES,
    output_names=("last_hidden_state", "pooler_output"),
)
MODELS = (BERT_LARGE, DISTILBERT, ROBERTA, ALBERT)
