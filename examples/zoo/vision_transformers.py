"""DeiT-Small, ViT-B/16 and ViT-L/16 of transformers, MobileViT-Small, and torchvision's ViT-B/16.

torchvision builds its ViT on `torch.nn.MultiheadAttention` (Q, K and V packed into one weight), transformers on three
Linear layers: two graphs of one model.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from examples.zoo.building import transformers_model
from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import image, normal

if TYPE_CHECKING:
    import torch

DEIT_SMALL = ZooModel(
    name="deit-small",
    build=partial(
        transformers_model,
        "DeiTForImageClassification",
        "facebook/deit-small-distilled-patch16-224",
        hidden_size=384,
        num_attention_heads=6,
        intermediate_size=1536,
        num_labels=1000,
    ),
    inputs=image,
    output_names=("logits",),
)
VIT_B_16 = ZooModel(
    name="vit-b-16",
    build=partial(transformers_model, "ViTForImageClassification", "google/vit-base-patch16-224", num_labels=1000),
    inputs=image,
    output_names=("logits",),
)
VIT_L_16 = ZooModel(
    name="vit-l-16",
    build=partial(
        transformers_model,
        "ViTForImageClassification",
        "google/vit-large-patch16-224",
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        num_labels=1000,
    ),
    inputs=image,
    output_names=("logits",),
)
MOBILEVIT_SMALL = ZooModel(
    name="mobilevit-small",
    build=partial(
        transformers_model,
        "MobileViTForImageClassification",
        "apple/mobilevit-small",
        image=(1, 3, 256, 256),
        num_labels=1000,
    ),
    inputs=partial(image, size=256),
    output_names=("logits",),
)


def torchvision_vit() -> torch.nn.Module:
    """torchvision's ViT-B/16, also with the head that it initialises with zeros jittered."""
    from torchvision.models import ViT_B_16_Weights, vit_b_16

    from examples.zoo.jitter import jitter

    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        return vit_b_16(weights=ViT_B_16_Weights.DEFAULT)
    return jitter(vit_b_16())


def torchvision_image(seed: int) -> dict[str, torch.Tensor]:
    """One normalised image: (1, 3, 224, 224) float32."""
    return {"x": normal(seed, 1, 3, 224, 224)}


VIT_B_16_TORCHVISION = ZooModel(
    name="vit-b-16-torchvision",
    build=torchvision_vit,
    inputs=torchvision_image,
    output_names=("logits",),
    requires=("torchvision",),
)
MODELS = (DEIT_SMALL, VIT_B_16, VIT_L_16, MOBILEVIT_SMALL, VIT_B_16_TORCHVISION)
