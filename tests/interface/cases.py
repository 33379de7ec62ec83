"""Small models by both exporters, for the interface."""

import torch
from torch import nn

from pytest_modelcheck import ModelCase


class Classifier(nn.Module):
    """Ids and mask of (batch, sequence) to logits (batch, 5) and hidden states (batch, sequence, 16)."""

    def __init__(self):
        super().__init__()
        self.words, self.up, self.head = nn.Embedding(50, 16), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, input_ids, attention_mask):
        x = self.up(self.words(input_ids)) * attention_mask[:, :, None].to(torch.float32)
        return {"logits": self.head(x[:, 0]), "hidden": x}


def text(seed, dtype=torch.long):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, (2, 8), generator=generator)
    return {"input_ids": ids.to(dtype), "attention_mask": torch.ones(2, 8, dtype=torch.long)}


AXES = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}


def classifier(exporter, *, build=Classifier, inputs=text, **options):
    """A case of `Classifier`, dynamic in batch and sequence."""
    options = {"dynamic_axes": AXES, "opset": 18, **options}
    return ModelCase("classifier", build, inputs, exporter=exporter, **options)
