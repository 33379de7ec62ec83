"""Building transformers' models from their configurations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # pytest imports the zoo in every run: torch and transformers only where a model is built
    import torch


def transformers_model(
    model: str, pretrained: str, *, image: tuple[int, ...] | None = None, **config: Any
) -> torch.nn.Module:
    """A model of transformers with random weights; MODELCHECK_PRETRAINED=1 loads the real ones.

    Args:
        model: The class, e.g. ``"BertModel"``.
        pretrained: What the real weights are called on the hub.
        image: For a model with BatchNorm: the shape of the image whose statistics it takes.
        config: Where its configuration differs from the class's defaults.
    """
    import torch
    import transformers

    from examples.zoo.jitter import jitter, settle_convolutions

    kind = getattr(transformers, model)
    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        return kind.from_pretrained(pretrained)
    made = kind(kind.config_class(**config))
    if image is not None:
        settle_convolutions(made, torch.randn(image))
    return jitter(made)
