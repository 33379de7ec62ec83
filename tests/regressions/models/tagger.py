"""A sequence tagger: embedding, two-layer LSTM, scores, and the best tag of each token."""

import torch
from torch import nn


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(40, 12)
        self.lstm = nn.LSTM(12, 8, num_layers=2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, ids):
        x, (hidden, cell) = self.lstm(self.words(ids))  # noqa: RUF059
        scores = self.head(self.norm(torch.tanh(x)))
        return {"scores": scores.log_softmax(-1), "state": hidden, "tags": scores.argmax(-1)}


def build():
    model = Tagger()
    return model


def inputs(seed):
    return {"ids": torch.randint(0, 40, (2, 6), generator=torch.Generator().manual_seed(seed))}


OPTIONS = {"output_names": ("scores", "state", "tags")}
