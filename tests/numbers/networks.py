"""Three small models whose source is edited by the tests: an encoder, a convolutional net, a decoder with a cache."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

VOCABULARY, WIDTH, HEADS, GROUPS, INNER, LENGTH = 90, 32, 4, 2, 64, 10
SIZE = WIDTH // HEADS


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def heads(x, count):
    return x.unflatten(-1, (count, SIZE)).transpose(1, 2)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x, bias):
        q, k, v = heads(self.query(x), HEADS), heads(self.key(x), HEADS), heads(self.value(x), HEADS)
        scores = q @ k.transpose(-1, -2) / math.sqrt(SIZE)
        scores = scores + bias
        weights = scores.softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.drop = SelfAttention(), nn.Dropout(0.1)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x, bias):
        x = self.norm1(x + self.drop(self.attention(x, bias)))
        h = F.gelu(self.up(x))
        return self.norm2(x + self.drop(self.down(h)))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(64, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer() for _ in range(2))
        self.pooler = nn.Linear(WIDTH, WIDTH)

    def forward(self, ids, mask):
        places = torch.arange(ids.shape[1])
        x = self.norm(self.words(ids) + self.positions(places))
        bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers:
            x = layer(x, bias)
        return {"hidden": x, "pooled": torch.tanh(self.pooler(x[:, 0]))}


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, x):
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(x + y)


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.46, 0.4]).view(3, 1, 1))
        self.stem, self.norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.ModuleList(Block(16) for _ in range(2))
        self.side, self.head, self.drop = nn.Conv2d(16, 4, 1), nn.Linear(16, 10), nn.Dropout(0.2)

    def forward(self, image):
        x = self.pool(torch.relu(self.norm(self.stem((image - self.mean) / 0.225))))
        for block in self.blocks:
            x = block(x)
        area = F.interpolate(self.side(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        return {"classes": self.head(self.drop(x.mean((2, 3)))), "area": area}


class Rms(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def turned(x):
    first, second = x.chunk(2, -1)
    return torch.cat((-second, first), -1)


class DecoderLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, GROUPS * SIZE),
            nn.Linear(WIDTH, GROUPS * SIZE),
        )
        self.o, self.n1, self.n2 = nn.Linear(WIDTH, WIDTH, bias=False), Rms(), Rms()
        self.gate, self.up = nn.Linear(WIDTH, INNER, bias=False), nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x, cos, sin, bias, past_k, past_v):
        h = self.n1(x)
        q, k, v = heads(self.q(h), HEADS), heads(self.k(h), GROUPS), heads(self.v(h), GROUPS)
        q, k = q * cos + turned(q) * sin, k * cos + turned(k) * sin
        k, v = torch.cat((past_k, k), 2), torch.cat((past_v, v), 2)
        all_k = k.repeat_interleave(HEADS // GROUPS, dim=1)
        all_v = v.repeat_interleave(HEADS // GROUPS, dim=1)
        scores = q @ all_k.transpose(-1, -2) / math.sqrt(SIZE) + bias
        x = x + self.o((scores.softmax(-1) @ all_v).transpose(1, 2).flatten(2))
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h)), k, v


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(DecoderLayer() for _ in range(2))
        self.norm, self.head = Rms(), nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids, past):
        new, old = ids.shape[1], past.shape[4]
        angle = (torch.arange(new) + old)[:, None] / 10000.0 ** (torch.arange(0, SIZE, 2) / SIZE)
        cos, sin = torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()
        bias = torch.full((new, old + new), float("-inf")).triu(diagonal=1 + old)
        x, present = self.words(ids), []
        for index, layer in enumerate(self.layers):
            x, k, v = layer(x, cos, sin, bias, past[index, 0], past[index, 1])
            present.append(torch.stack((k, v)))
        return {"logits": self.head(self.norm(x)), "present": torch.stack(present)}


def jittered(module):
    """Fresh weights moved by noise: a trained model has no bias of 0 and no gain of 1."""
    generator = seeded(0)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.05)
        for name, tensor in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                tensor.add_(torch.rand(tensor.shape, generator=generator))
    return module


def encoder():
    module = jittered(Encoder())
    return module


def segmenter():
    module = jittered(Segmenter())
    return module


def decoder():
    module = jittered(Decoder())
    return module


def encoder_inputs(seed):
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, 7:] = 0
    return {"ids": torch.randint(0, VOCABULARY, (2, LENGTH), generator=seeded(seed)), "mask": mask}


def segmenter_inputs(seed):
    return {"image": torch.randn(2, 3, 32, 32, generator=seeded(seed))}


def decoder_inputs(seed):
    past = torch.randn(2, 2, 2, GROUPS, 6, SIZE, generator=seeded(seed + 500))
    return {"ids": torch.randint(0, VOCABULARY, (2, 4), generator=seeded(seed)), "past": past}
