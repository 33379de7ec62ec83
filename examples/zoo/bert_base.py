"""BERT-base: 12 layers, 768 wide, dynamic batch and sequence.

Random weights; MODELCHECK_PRETRAINED=1 loads the real ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from examples.zoo.declaring import ZooModel

if TYPE_CHECKING:  # pytest imports this file in every run: torch and transformers only where a model is built
    import torch
    from transformers import BertModel

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


AXES = {0: "batch", 1: "sequence"}
BERT_BASE = ZooModel(
    name="bert-base",
    build=build,
    inputs=inputs,
    dynamic_axes={"input_ids": AXES, "attention_mask": AXES},
    output_names=("last_hidden_state", "pooler_output"),
)
CASES = (BERT_BASE.case("dynamo"), BERT_BASE.case("torchscript"))
