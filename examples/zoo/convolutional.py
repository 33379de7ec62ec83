"""EfficientNet-B0 and MobileNetV2 of transformers; VGG-16 and MobileNetV3-Small, which it lacks, written out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from examples.zoo.building import transformers_model
from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import image, normal

if TYPE_CHECKING:
    import torch


def vgg16() -> torch.nn.Module:
    """VGG-16 (Simonyan & Zisserman 2014, configuration D) with random weights."""
    from examples.zoo.convolutional_networks import make_vgg16, with_weights

    return with_weights(make_vgg16(), "https://download.pytorch.org/models/vgg16-397923af.pth")


def mobilenet_v3_small() -> torch.nn.Module:
    """MobileNetV3-Small (Howard et al. 2019) with random weights."""
    from examples.zoo.convolutional_networks import MobileNetV3Small, with_weights

    url = "https://download.pytorch.org/models/mobilenet_v3_small-047dcff4.pth"
    return with_weights(MobileNetV3Small(), url)


def plain_image(seed: int) -> tuple[torch.Tensor]:
    """One normalised image: (1, 3, 224, 224) float32."""
    return (normal(seed, 1, 3, 224, 224),)


EFFICIENTNET_B0 = ZooModel(
    name="efficientnet-b0",
    build=partial(
        transformers_model,
        "EfficientNetForImageClassification",
        "google/efficientnet-b0",
        image=(1, 3, 224, 224),
        image_size=224,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        dropout_rate=0.2,
        num_labels=1000,
    ),
    inputs=image,
    output_names=("logits",),
)
MOBILENET_V2 = ZooModel(
    name="mobilenet-v2",
    build=partial(
        transformers_model,
        "MobileNetV2ForImageClassification",
        "google/mobilenet_v2_1.0_224",
        image=(1, 3, 224, 224),
        num_labels=1001,
    ),
    inputs=image,
    output_names=("logits",),
)
VGG16 = ZooModel(name="vgg16", build=vgg16, inputs=plain_image, output_names=("logits",))
MOBILENET_V3_SMALL = ZooModel(
    name="mobilenet-v3-small", build=mobilenet_v3_small, inputs=plain_image, output_names=("logits",)
)
MODELS = (EFFICIENTNET_B0, MOBILENET_V2, VGG16, MOBILENET_V3_SMALL)
