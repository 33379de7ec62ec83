"""BERT-base: 12 layers, 768 wide, dynamic batch and sequence.

Random weights; MODELCHECK_PRETRAINED=1 loads the real ones.
"""

import os
from typing import Literal

import torch
from transformers import BertConfig, BertModel

from examples.zoo.jitter import jitter
from pytest_modelcheck import ModelCase

BATCH, SEQUENCE = 2, 32


def build() -> BertModel:
    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        return BertModel.from_pretrained("bert-base-uncased")
    return jitter(BertModel(BertConfig()))


def inputs(seed: int) -> dict[str, torch.Tensor]:
    """Token ids over the whole vocabulary; the second row is padded, so that the mask matters."""
    generator = torch.Generator().manual_seed(seed)
    attention_mask = torch.ones(BATCH, SEQUENCE, dtype=torch.long)
    attention_mask[1, SEQUENCE * 3 // 4 :] = 0
    return {
        "input_ids": torch.randint(0, BertConfig().vocab_size, (BATCH, SEQUENCE), generator=generator),
        "attention_mask": attention_mask,
    }


def bert_base(exporter: Literal["dynamo", "torchscript"] = "dynamo") -> ModelCase:
    axes = {0: "batch", 1: "sequence"}
    return ModelCase(
        "bert-base",
        build,
        inputs,
        exporter=exporter,
        dynamic_axes={"input_ids": axes, "attention_mask": axes},
        output_names=["last_hidden_state", "pooler_output"],
    )


CASES = (bert_base("dynamo"), bert_base("torchscript"))
