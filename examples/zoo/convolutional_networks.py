"""VGG-16 and MobileNetV3-Small, module by module as torchvision names them: its weights load into these classes."""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from examples.zoo.jitter import ModuleT, jitter, settle_convolutions

VGG16_WIDTHS = (64, 64, "pool", 128, 128, "pool", *(256,) * 3, "pool", *(512,) * 3, "pool", *(512,) * 3, "pool")


def with_weights(module: ModuleT, url: str) -> ModuleT:
    """`module` with random weights; MODELCHECK_PRETRAINED=1 loads those of `url`."""
    if os.environ.get("MODELCHECK_PRETRAINED") == "1":
        module.load_state_dict(torch.hub.load_state_dict_from_url(url))
        return module
    for child in module.modules():
        if isinstance(child, nn.Linear):
            nn.init.normal_(child.weight, 0, 0.01)
    return jitter(settle_convolutions(module, torch.randn(1, 3, 224, 224)))


class VGG(nn.Module):
    """Convolutions, an average pool to 7 x 7, and three Linear layers. image: (batch, 3, height, width) float."""

    def __init__(self, features: nn.Sequential) -> None:
        super().__init__()
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))


def make_vgg16() -> VGG:
    """VGG-16 without BatchNorm: 138,357,544 parameters."""
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG16_WIDTHS:
        if width == "pool":
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        else:
            layers += [nn.Conv2d(channels, int(width), kernel_size=3, padding=1), nn.ReLU(inplace=True)]
            channels = int(width)
    return VGG(nn.Sequential(*layers))


class BottleneckRow(NamedTuple):
    """One row of table 2 of the MobileNetV3 paper."""

    channels: int
    kernel: int
    expanded: int
    out: int
    squeeze: bool
    hardswish: bool
    stride: int


SMALL_ROWS = (
    BottleneckRow(16, 3, 16, 16, True, False, 2),
    BottleneckRow(16, 3, 72, 24, False, False, 2),
    BottleneckRow(24, 3, 88, 24, False, False, 1),
    BottleneckRow(24, 5, 96, 40, True, True, 2),
    BottleneckRow(40, 5, 240, 40, True, True, 1),
    BottleneckRow(40, 5, 240, 40, True, True, 1),
    BottleneckRow(40, 5, 120, 48, True, True, 1),
    BottleneckRow(48, 5, 144, 48, True, True, 1),
    BottleneckRow(48, 5, 288, 96, True, True, 2),
    BottleneckRow(96, 5, 576, 96, True, True, 1),
    BottleneckRow(96, 5, 576, 96, True, True, 1),
)

batch_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


def conv_norm(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, activation: type[nn.Module] | None = None
) -> nn.Sequential:
    """Conv, BatchNorm, and an activation where there is one."""
    conv = nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    return nn.Sequential(conv, batch_norm(out), *([] if activation is None else [activation(inplace=True)]))


class SqueezeExcitation(nn.Module):
    """x * gate(mean of x over height and width). x: (batch, channels, height, width) float."""

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: type[nn.Module] = nn.ReLU,
        scale_activation: type[nn.Module] = nn.Hardsigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x))))) * x


def divisible_by_8(value: float) -> int:
    """The multiple of 8 nearest to `value`, not more than 10 % below it."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, squeeze-and-excitation, project. x: (batch, channels, height, width) float."""

    def __init__(self, row: BottleneckRow) -> None:
        super().__init__()
        activation = nn.Hardswish if row.hardswish else nn.ReLU
        layers: list[nn.Module] = []
        if row.expanded != row.channels:
            layers.append(conv_norm(row.channels, row.expanded, 1, activation=activation))
        layers.append(
            conv_norm(row.expanded, row.expanded, row.kernel, row.stride, row.expanded, activation=activation)
        )
        if row.squeeze:
            layers.append(SqueezeExcitation(row.expanded, divisible_by_8(row.expanded / 4)))
        layers.append(conv_norm(row.expanded, row.out, 1))
        self.block = nn.Sequential(*layers)
        self.use_res_connect = row.stride == 1 and row.channels == row.out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.use_res_connect else self.block(x)


class MobileNetV3Small(nn.Module):
    """MobileNetV3-Small, width 1.0: 2,542,856 parameters. image: (batch, 3, height, width) float."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_norm(3, 16, 3, 2, activation=nn.Hardswish),
            *map(InvertedResidual, SMALL_ROWS),
            conv_norm(96, 576, 1, activation=nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024), nn.Hardswish(inplace=True), nn.Dropout(0.2, inplace=True), nn.Linear(1024, 1000)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(image)), 1))
