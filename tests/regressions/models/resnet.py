"""A small residual network with two heads: logits, and an upsampled mask."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)
        self.conv2, self.bn2 = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c, momentum=0.1)

    def forward(self, x):
        h = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(x + self.bn2(self.conv2(h)))


class Resnet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.ModuleList(Block(16) for _ in range(2))
        self.side = nn.Conv2d(16, 4, 1)
        self.head = nn.Linear(16, 10)
        self.drop = nn.Dropout(0.2)

    def forward(self, image):
        image = (image - 0.45) / 0.225
        x = self.pool(torch.relu(self.norm(self.stem(image))))
        for block in self.blocks:
            x = block(x)
        up = F.interpolate(self.side(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return {"logits": self.head(self.drop(x.mean((2, 3)))), "mask": up}


def build():
    model = Resnet()
    return model


def inputs(seed):
    return {"image": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))}


OPTIONS = {"dynamic_axes": {"image": {0: "batch"}}, "output_names": ("logits", "mask")}
