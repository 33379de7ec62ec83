"""The modules of the small blocks."""

from __future__ import annotations

import torch
from torch import nn

from examples.zoo.convolutional_networks import SqueezeExcitation


class MobileNetBlock(nn.Module):
    """A depthwise separable convolution (MobileNet). x: (batch, 32, height, width) float."""

    def __init__(self, channels: int = 32, out: int = 64) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU6()
        self.pointwise = nn.Conv2d(channels, out, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.act2 = nn.ReLU6()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act1(self.norm1(self.depthwise(x)))
        return self.act2(self.norm2(self.pointwise(x)))


class EfficientNetBlock(nn.Module):
    """Expand, depthwise, squeeze-and-excitation, project, residual (MBConv). x: (batch, 24, height, width) float."""

    def __init__(self, channels: int = 24, expansion: int = 6) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU())
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, 5, padding=2, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.SiLU()
        )
        self.squeeze = SqueezeExcitation(wide, channels // 4, nn.SiLU, nn.Sigmoid)
        self.project = nn.Sequential(nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.project(self.squeeze(self.depthwise(self.expand(x))))


class AttentionLayer(nn.Module):
    """Pre-norm attention written out in elementary operations. x: (batch, sequence, width) float."""

    def __init__(self, width: int = 256, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor, memory: torch.Tensor | None = None) -> torch.Tensor:
        normed = self.norm(x)
        source = normed if memory is None else memory
        q, k, v = self._split(self.q(normed)), self._split(self.k(source)), self._split(self.v(source))
        scores = q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return x + self.out(mixed)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, sequence, width) -> (batch, heads, sequence, head width)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MultiLayerAttention(nn.Module):
    """Three attention layers and a closing LayerNorm. x: (batch, sequence, 256) float."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(width) for _ in range(3))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class PatchAttention(nn.Module):
    """Patches of 8 x 8 pixels, a position embedding, `nn.MultiheadAttention`, a head. image: (batch, 3, 64, 64)."""

    def __init__(self, width: int = 192, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.position = nn.Parameter(torch.zeros(1, 64, width))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patches(image).flatten(2).transpose(1, 2) + self.position
        normed = self.norm(x)
        x = x + self.attention(normed, normed, normed, need_weights=False)[0]
        return self.head(x.mean(1))


class CrossAttention(nn.Module):
    """Two layers of attention to another sequence. x: (batch, sequence, 256), memory: (batch, other, 256) float."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(width) for _ in range(2))

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, memory)
        return x
