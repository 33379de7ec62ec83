"""A decoder with rotary positions, grouped queries and a key/value cache."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

VOCABULARY, WIDTH, HEADS, GROUPS, INNER = 120, 32, 4, 2, 64
HEAD = WIDTH // HEADS


class Rms(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def rotate(x):
    a, b = x.chunk(2, -1)
    return torch.cat((-b, a), -1)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (
            nn.Linear(WIDTH, WIDTH),
            nn.Linear(WIDTH, GROUPS * HEAD),
            nn.Linear(WIDTH, GROUPS * HEAD),
        )
        self.o = nn.Linear(WIDTH, WIDTH, bias=False)
        self.n1, self.n2 = Rms(), Rms()
        self.gate, self.up = nn.Linear(WIDTH, INNER, bias=False), nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x, cos, sin, mask, past_k, past_v):
        b, s, _ = x.shape
        h = self.n1(x)
        q = self.q(h).view(b, s, HEADS, HEAD).transpose(1, 2)
        k = self.k(h).view(b, s, GROUPS, HEAD).transpose(1, 2)
        v = self.v(h).view(b, s, GROUPS, HEAD).transpose(1, 2)
        q, k = q * cos + rotate(q) * sin, k * cos + rotate(k) * sin
        k, v = torch.cat((past_k, k), 2), torch.cat((past_v, v), 2)
        kk = k.repeat_interleave(HEADS // GROUPS, dim=1)
        vv = v.repeat_interleave(HEADS // GROUPS, dim=1)
        scores = q @ kk.transpose(-1, -2) / math.sqrt(HEAD) + mask
        a = (scores.softmax(-1) @ vv).transpose(1, 2).reshape(b, s, WIDTH)
        x = x + self.o(a)
        h = self.n2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h)), k, v


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.norm = Rms()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.words.weight

    def forward(self, input_ids, past):
        s, p = input_ids.shape[1], past.shape[4]
        position = torch.arange(s, device=input_ids.device) + p
        inverse = 1.0 / (10000.0 ** (torch.arange(0, HEAD, 2, device=input_ids.device).float() / HEAD))
        angle = position[:, None].float() * inverse[None]
        angle = torch.cat((angle, angle), -1)
        cos, sin = angle.cos(), angle.sin()
        mask = torch.full((s, p + s), float("-inf")).triu(diagonal=1 + p)
        x, present = self.words(input_ids), []
        for i, layer in enumerate(self.layers):
            x, k, v = layer(x, cos, sin, mask, past[i, 0], past[i, 1])
            present.append(torch.stack((k, v)))
        return {"logits": self.head(self.norm(x)), "present": torch.stack(present)}


def build():
    model = Decoder()
    return model


def inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return {
        "input_ids": torch.randint(0, VOCABULARY, (2, 4), generator=generator),
        "past": torch.randn(2, 2, 2, GROUPS, 6, HEAD, generator=generator),
    }


OPTIONS = {
    "dynamic_axes": {"input_ids": {0: "batch", 1: "sequence"}, "past": {2: "batch", 4: "past"}},
    "output_names": ("logits", "present"),
}
