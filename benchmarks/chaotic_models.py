"""Small models whose numbers random weights make chaotic, or that choose among near or exact ties."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.model_case import Exporter

Tensors = dict[str, torch.Tensor]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(seed: int) -> Tensors:
    return {"image": torch.randn(1, 3, 32, 32, generator=_generator(seed))}


def vectors(seed: int) -> Tensors:
    return {"x": torch.randn(4, 32, generator=_generator(seed))}


def tokens(seed: int) -> Tensors:
    return {"ids": torch.randint(0, 100, (2, 24), generator=_generator(seed))}


class Tanhs(nn.Module):
    """60 layers of gain 3: a change of 1e-6 grows until it fills the range of tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(60))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(3 * layer(x))
        return x


class Convolutions(nn.Module):
    """Convolutions without a norm; `gain` above 1 makes them chaotic, 1 lets the signal fade."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 if index == 0 else 8, 8, 3, padding=1) for index in range(24))
        self.gain = gain

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            image = torch.sin(self.gain * layer(image))
        return image


class TopK(nn.Module):
    """The ten best of 1,024 scores, and what stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.scores, self.boxes = nn.Conv2d(16, 1, 1), nn.Conv2d(16, 4, 1)

    def forward(self, image: torch.Tensor) -> Tensors:
        features = torch.relu(self.stem(image))
        best = self.scores(features).flatten(1).sigmoid().topk(10)
        boxes = self.boxes(features).flatten(2).transpose(1, 2)
        return {"scores": best.values, "boxes": boxes.gather(1, best.indices[..., None].expand(-1, -1, 4))}


class ArgMax(nn.Module):
    """The best of eight classes at 1,024 places: some of them are near ties."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1)

    def forward(self, image: torch.Tensor) -> Tensors:
        scores = self.head(F.silu(self.norm(self.stem(image))))
        return {"classes": scores.argmax(1), "sure": scores.amax(1) > 1.0}


class Suppressed(nn.Module):
    """Non-maximum suppression, written out: sort, overlaps, a threshold."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.boxes, self.scores = nn.Conv2d(3, 16, 4, 4), nn.Conv2d(16, 4, 1), nn.Conv2d(16, 1, 1)

    def forward(self, image: torch.Tensor) -> Tensors:
        features = F.silu(self.stem(image))
        scores, order = self.scores(features).flatten().sigmoid().sort(descending=True)
        boxes = self.boxes(features).flatten(2)[0].T[order]
        low, high = boxes[:, :2] - 1, boxes[:, :2] + boxes[:, 2:].exp()
        size = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0).prod(-1)
        area = (high - low).prod(-1)
        overlap = (size / (area[:, None] + area - size)).triu(1)
        kept = overlap.amax(0) < 0.5
        return {"boxes": boxes * kept[:, None], "scores": scores, "kept": kept}


class Sorted(nn.Module):
    """4,000 scores, a part of them exactly 0, in order; the places of equal ones follow no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 1000)

    def forward(self, x: torch.Tensor) -> Tensors:
        values, places = torch.relu(self.head(x)).flatten().sort(descending=True)
        return {"values": values, "places": places}


class Experts(nn.Module):
    """Each token goes to the best two of eight experts."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.router = nn.Embedding(100, 16), nn.Linear(16, 8)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(8))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.words(ids)
        best = self.router(x).softmax(-1).topk(2)
        weights = torch.zeros_like(x[..., :8]).scatter(-1, best.indices, best.values)
        return torch.stack([expert(x) for expert in self.experts], -1).mul(weights[..., None, :]).sum(-1)


class Codebook(nn.Module):
    """The nearest of 64 codes, and the code itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.codes = nn.Linear(32, 8), nn.Embedding(64, 8)

    def forward(self, x: torch.Tensor) -> Tensors:
        distances = (self.inner(x)[:, None] - self.codes.weight).square().sum(-1)
        nearest = distances.argmin(-1)
        return {"code": nearest, "value": self.codes(nearest)}


_MODELS: tuple[tuple[str, Callable[[], nn.Module], Callable[[int], Tensors]], ...] = (
    ("tanhs", Tanhs, vectors),
    ("convolutions of gain 3", lambda: Convolutions(3.0), picture),
    ("convolutions of gain 1", lambda: Convolutions(1.0), picture),
    ("top k", TopK, picture),
    ("argmax", ArgMax, picture),
    ("non-maximum suppression", Suppressed, picture),
    ("sort", Sorted, vectors),
    ("experts", Experts, tokens),
    ("codebook", Codebook, vectors),
)


def chaotic_cases(exporter: Exporter, opset: int) -> list[ModelCase]:
    """The models as cases."""
    return [ModelCase(name, build, inputs, exporter=exporter, opset=opset) for name, build, inputs in _MODELS]
