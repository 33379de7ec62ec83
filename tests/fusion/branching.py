"""A case that no tracer captures."""

from __future__ import annotations

import torch
from torch import nn

from pytest_modelcheck import ModelCase


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


CASE = ModelCase("branching", Branching, lambda seed: (torch.ones(2, 3),))
