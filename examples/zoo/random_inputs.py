"""Inputs of the zoo's models, drawn under a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BATCH, SEQUENCE = 2, 16
TEXT_AXES = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}


def normal(seed: int, *shape: int) -> torch.Tensor:
    """N(0, 1) float32 of this shape: a normalised image, a spectrogram, hidden states."""
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def token_ids(seed: int, vocabulary: int, batch: int = BATCH, length: int = SEQUENCE) -> torch.Tensor:
    """int64 ids over the whole vocabulary."""
    import torch

    return torch.randint(0, vocabulary, (batch, length), generator=torch.Generator().manual_seed(seed))


def text(seed: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """Token ids and a mask whose second row is padded at its end, so that the mask matters."""
    import torch

    attention_mask = torch.ones(BATCH, SEQUENCE, dtype=torch.long)
    attention_mask[1, SEQUENCE * 3 // 4 :] = 0
    return {"input_ids": token_ids(seed, vocabulary), "attention_mask": attention_mask}


def image(seed: int, size: int = 224) -> dict[str, torch.Tensor]:
    """One normalised image as transformers' vision models take it: (1, 3, size, size)."""
    return {"pixel_values": normal(seed, 1, 3, size, size)}
