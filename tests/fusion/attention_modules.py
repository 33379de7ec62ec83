"""Attention in the ways people write it, and decoys: modules that look like attention and are not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """Attention in the ways people write it. `form` chooses the projections, `eager` writes the softmax out."""

    def __init__(self, form: str, eager: bool) -> None:
        super().__init__()
        self.form, self.eager = form, eager
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))
        self.packed = nn.Linear(16, 48)
        self.narrow = nn.Linear(16, 8)
        self.norm = nn.LayerNorm(8)
        self.scale = nn.Parameter(torch.rand(8))
        self.register_buffer("frequencies", torch.rand(1, 4, 1))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        q, k, v = getattr(self, f"_{self.form}")(x, y)
        if not self.eager:
            return scaled_dot_product_attention(q, k, v, enable_gqa=self.form == "grouped")
        if self.form == "grouped":
            k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = q @ k.transpose(-2, -1) / 8**0.5
        if self.form == "capped":  # Gemma 2
            scores = torch.tanh(scores / 50) * 50
        if self.form == "columns":  # the area attention of YOLO: V^T P^T
            return v.transpose(-2, -1) @ torch.softmax(scores, -1).transpose(-2, -1)
        return torch.softmax(scores, -1) @ v

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(x.size(0), x.size(1), -1, 8).transpose(1, 2)

    def _self(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return tuple(self._heads(project(x)) for project in (self.query, self.key, self.value))

    def _cross(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        return self._heads(self.query(x)), self._heads(self.key(y)), self._heads(self.value(y))

    def _packed(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return tuple(self._heads(part) for part in self.packed(x).chunk(3, -1))

    def _packed_by_index(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self.packed(x).view(x.size(0), x.size(1), 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)

    def _shared(self, x: torch.Tensor, y: torch.Tensor) -> Any:
        both = self._heads(self.key(y))
        return self._heads(self.query(x)), both, both

    def _grouped(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self._heads(self.query(x)), self._heads(self.narrow(x)), self._heads(self.narrow(x) * 2)

    def _normed(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self.norm(self._heads(self.query(x))), self.norm(self._heads(self.key(x))), self._heads(self.value(x))

    def _capped(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self._self(x, x)

    def _columns(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        return self._self(x, x)

    def _normed_by_one_more(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        """Gemma 3: behind the transpose, in float32, by 1 + weight."""

        def norm(h: torch.Tensor) -> torch.Tensor:
            wide = h.float()
            wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
            return (wide * (1.0 + self.scale)).type_as(h)

        q, k, v = self._self(x, x)
        return norm(q), norm(k), v

    def _unit_length(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        q, k, v = self._self(x, x)
        return nn.functional.normalize(q, dim=-1), nn.functional.normalize(k, dim=-1), v

    def _rotary_by_matmul(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        """Llama in transformers up to 5.10: the angles are a product of a buffer and the positions."""
        positions = torch.arange(x.size(1))[None, None, :].float()
        angles = (self.frequencies @ positions).transpose(1, 2)
        angles = torch.cat((angles, angles), -1)
        q, k, v = self._self(x, x)
        rotate = lambda h: h * angles.cos() + torch.cat([-h[..., 4:], h[..., :4]], -1) * angles.sin()  # noqa: E731 - used twice
        return rotate(q), rotate(k), v

    def _two_queries(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        q, k, v = self._self(x, x)
        return q + self._heads(self.key(x * 2)), k, v

    def _rotary(self, x: torch.Tensor, _: torch.Tensor) -> Any:
        angles = torch.arange(x.size(1))[:, None] * torch.ones(8)
        q, k, v = self._self(x, x)
        rotate = lambda h: h * angles.cos() + torch.cat([-h[..., 4:], h[..., :4]], -1) * angles.sin()  # noqa: E731 - used twice
        return rotate(q), rotate(k), v


class Siblings(nn.Module):
    """Three Linears of one input, added up."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(x) + self.c(x)


class GatedMlp(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(16, 32), nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x))


class ManyHeads(nn.Module):
    """Three classifiers of one feature, one with a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(16, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, second, third = (head(x) for head in self.heads)
        return torch.softmax(first, -1), second, third


class SoftGate(nn.Module):
    """A mixture: a softmax over experts weighs the experts' outputs by a matmul; no Q K^T is anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(16, 4), nn.Linear(16, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.gate(x), -1)
        return (weights.unsqueeze(-2) @ self.experts(x).view(*x.shape[:-1], 4, 16)).squeeze(-2)


class Bilinear(nn.Module):
    """Q K^T without a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.query(x) @ self.key(x).transpose(-2, -1)) @ self.value(x)


class GateByWeight(nn.Module):
    """A mixture whose softmax is over a product with a weight: that weight is no K."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Parameter(torch.randn(16, 4)), nn.Linear(16, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(x @ self.gate, -1)
        return (weights.unsqueeze(-2) @ self.experts(x).view(*x.shape[:-1], 4, 16)).squeeze(-2)


class LinearAttention(nn.Module):
    """Q (K^T V) with a feature map in place of the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key = (torch.nn.functional.elu(project(x)) + 1 for project in (self.query, self.key))
        return query @ (key.transpose(-2, -1) @ self.value(x))


class SqueezeExcite(nn.Module):
    """Two small projections of the mean scale the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean(-2, keepdim=True)))))


class LstmGates(nn.Module):
    """Four gates of one input, as in an LSTM cell."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        take, forget, candidate, show = (gate(x) for gate in self.gates)
        return torch.sigmoid(show) * torch.tanh(torch.sigmoid(forget) * x + torch.sigmoid(take) * torch.tanh(candidate))


DECOYS: tuple[type[nn.Module], ...] = (
    Siblings,
    GatedMlp,
    ManyHeads,
    SoftGate,
    Bilinear,
    GateByWeight,
    LinearAttention,
    SqueezeExcite,
    LstmGates,
)
"""They take one input (batch, length, 16) float."""


class LatentAttention(nn.Module):
    """DeepSeek V3: keys and values out of one compressed projection; a part of the key is that itself.

    With `apart` the part comes from a projection of its own, which the other one does not read.
    """

    def __init__(self, apart: bool = False) -> None:
        super().__init__()
        self.q, self.o = nn.Linear(16, 12, bias=False), nn.Linear(8, 16, bias=False)
        self.kv_a, self.kv_b = nn.Linear(16, 10, bias=False), nn.Linear(8, 16, bias=False)
        self.norm, self.rest = nn.LayerNorm(8), nn.Linear(16, 2, bias=False)
        self.apart = apart

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q = self.q(x).unflatten(-1, (2, 6)).transpose(1, 2)
        latent, shared = torch.split(self.kv_a(x), [8, 2], -1)
        shared = self.rest(x) if self.apart else shared
        both = self.kv_b(self.norm(latent)).unflatten(-1, (2, 8)).transpose(1, 2)
        own, v = torch.split(both, [4, 4], -1)
        k = both.new_empty(*both.shape[:-1], 6)
        k[..., :4].copy_(own)
        k[..., 4:].copy_(shared[:, None].expand(-1, 2, -1, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.o(y.transpose(1, 2).flatten(2))
