"""A small U-Net: group norm, strided and transposed convolutions, a skip connection, a threshold."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Down(nn.Module):
    def __init__(self, c, d):
        super().__init__()
        self.conv = nn.Conv2d(c, d, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(4, d, eps=1e-5)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class Unet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = Down(3, 8), Down(8, 16)
        self.mid = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=4)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, image):
        a = self.down1(image)
        b = self.down2(a)
        b = self.pool(F.hardswish(self.mid(b)))
        x = torch.cat((a, self.up(b)), 1)
        x = F.interpolate(self.head(x), scale_factor=2.0, mode="nearest")
        scores = torch.sigmoid(x)
        return {"scores": scores.clamp(0.01, 0.99), "mask": scores > 0.5}


def build():
    model = Unet()
    return model


def inputs(seed):
    return {"image": torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))}


OPTIONS = {"output_names": ("scores", "mask")}
