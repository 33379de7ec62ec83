"""ResNet-50 with 1000 labels.

Random weights; MODELCHECK_PRETRAINED=1 loads the real ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_modelcheck import ModelCase

if TYPE_CHECKING:  # pytest imports this file in every run: torch and transformers only where a model is built
    import torch
    from transformers import ResNetForImageClassification

    from pytest_modelcheck.model_case import Exporter


def build() -> ResNetForImageClassification:
    from transformers import ResNetConfig, ResNetForImageClassification

    from examples.zoo.jitter import jitter

    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        return ResNetForImageClassification.from_pretrained("microsoft/resnet-50")
    return jitter(ResNetForImageClassification(ResNetConfig(num_labels=1000)))


def inputs(seed: int) -> dict[str, torch.Tensor]:
    """One normalised image: (1, 3, 224, 224) float32."""
    import torch

    return {"pixel_values": torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed))}


def resnet50(exporter: Exporter = "dynamo") -> ModelCase:
    return ModelCase("resnet50", build, inputs, exporter=exporter, output_names=["logits"])


CASES = (resnet50("dynamo"), resnet50("torchscript"))
