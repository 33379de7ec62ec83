"""BERT-base: 12 layers, 768 wide, dynamic batch and sequence.

Random weights; MODELCHECK_PRETRAINED=1 loads the real ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_modelcheck import ModelCase

if TYPE_CHECKING:  # pytest imports this file in every run: torch and transformers only where a model is built
    import torch
    from transformers import BertModel

    from pytest_modelcheck.model_case import Exporter

BATCH, SEQUENCE = 2, 16


def build() -> BertModel:
    from transformers import BertConfig, BertModel

    from examples.zoo.jitter import jitter

    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        return BertModel.from_pretrained("bert-base-uncased")
    return jitter(BertModel(BertConfig()))


def inputs(seed: int) -> dict[str, torch.Tensor]:
    """Token ids over the whole vocabulary; the second row is padded, so that the mask matters."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    attention_mask = torch.ones(BATCH, SEQUENCE, dtype=torch.long)
    attention_mask[1, SEQUENCE * 3 // 4 :] = 0
    return {
        "input_ids": torch.randint(0, 30522, (BATCH, SEQUENCE), generator=generator),
        "attention_mask": attention_mask,
    }


def bert_base(exporter: Exporter = "dynamo") -> ModelCase:
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
