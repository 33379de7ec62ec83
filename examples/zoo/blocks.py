"""Small blocks: what one layer of the larger models exports to."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import normal

if TYPE_CHECKING:
    import torch


def block(name: str) -> torch.nn.Module:
    """A class of `block_modules`, jittered."""
    from examples.zoo import block_modules
    from examples.zoo.jitter import jitter

    return jitter(getattr(block_modules, name)())


def tensors(seed: int, shapes: tuple[tuple[int, ...], ...]) -> tuple[torch.Tensor, ...]:
    """One N(0, 1) tensor per shape."""
    return tuple(normal(seed + 1000 * index, *shape) for index, shape in enumerate(shapes))


def _block(name: str, kind: str, *shapes: tuple[int, ...]) -> ZooModel:
    return ZooModel(
        name=name,
        build=partial(block, kind),
        inputs=partial(tensors, shapes=shapes),
        output_names=("output",),
    )


MOBILENET_BLOCK = _block("mobilenet-block", "MobileNetBlock", (1, 32, 56, 56))
EFFICIENTNET_BLOCK = _block("efficientnet-block", "EfficientNetBlock", (1, 24, 56, 56))
MULTI_LAYER_ATTENTION = _block("multi-layer-attention", "MultiLayerAttention", (2, 16, 256))
PATCH_ATTENTION = _block("patch-attention", "PatchAttention", (1, 3, 64, 64))
CROSS_ATTENTION = _block("cross-attention", "CrossAttention", (2, 8, 256), (2, 20, 256))
MODELS = (MOBILENET_BLOCK, EFFICIENTNET_BLOCK, MULTI_LAYER_ATTENTION, PATCH_ATTENTION, CROSS_ATTENTION)
