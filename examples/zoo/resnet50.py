"""ResNet-50 with 1000 labels.

Random weights; MODELCHECK_PRETRAINED=1 loads the real ones.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from examples.zoo.declaring import ZooModel

if TYPE_CHECKING:  # pytest imports this file in every run: torch and transformers only where a model is built
    import torch
    from transformers import ResNetForImageClassification


def build() -> ResNetForImageClassification:
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    from examples.zoo.jitter import jitter, settle_convolutions

    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        return ResNetForImageClassification.from_pretrained("microsoft/resnet-50")
    model = ResNetForImageClassification(ResNetConfig(num_labels=1000))
    return jitter(settle_convolutions(model, torch.randn(1, 3, 224, 224)))


def inputs(seed: int) -> dict[str, torch.Tensor]:
    """One normalised image: (1, 3, 224, 224) float32."""
    import torch

    return {"pixel_values": torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(seed))}


RESNET50 = ZooModel(name="resnet50", build=build, inputs=inputs, output_names=("logits",))
CASES = (RESNET50.case("dynamo"), RESNET50.case("torchscript"))
