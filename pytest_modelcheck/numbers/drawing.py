"""Weights drawn by name and shape: the same numbers on every machine, whatever the checkpoint.

A stream of numpy's PCG64, whose output numpy guarantees, gives 16-bit steps of a uniform distribution with variance 1;
one multiplication and one addition in float32 scale it. No random state of torch and no transcendental function takes
part, so the weights are bit-equal everywhere. A weight is keyed by its name, not by its place: a module that is
inserted does not change those after it.

| tensor | drawn as (u: variance 1) | in the quiet probe |
|---|---|---|
| matrix, kernel | u / sqrt(fan in) | the same |
| table of an Embedding | u | x 1e-3 |
| raw parameter with a leading axis of 1 (class token, positions, queries) | 0.5 u | x 1e-3 |
| gain (any other 1-D parameter) | 1 + 0.1 u | x 1e-3 |
| bias | 0.1 u | x 1e-3 |
| scalar | 0.5 + 0.1 u | the same |
| running mean, running variance | 0.1 u, 1 + 0.25 u | x 1e-3, x 1e-6 |
| other buffers (frequencies, masks, an image's mean) | as they are: constants of the function | the same |
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

_CHUNK = 1 << 17
"""Elements drawn at a time; a multiple of 4, because one 64-bit number of the stream gives four steps."""

_STEP = math.sqrt(3) / (1 << 15)
"""Width of one step of 65,536 over [-sqrt(3), sqrt(3)], where a uniform distribution has variance 1."""

HALVES = (torch.float16, torch.bfloat16)
QUIET = 1e-3
WOBBLE = 1e-5
"""Relative change of every weight by which instability is looked for: ten times the largest noise between machines."""

_CONVOLUTIONS = torch.nn.modules.conv._ConvNd
_SPECTRAL_VECTORS = ("weight_u", "weight_v", "_u", "_v")


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """A tensor of a module that is drawn.

    Attributes:
        name: Its first name, e.g. ``"layers.0.norm.weight"``.
        tensor: The parameter or buffer itself.
        scale, offset: Drawn as ``offset + scale * u``.
        quiet: Its factor in the quiet probe.
        aliases: Further names of the same tensor.
    """

    name: str
    tensor: torch.Tensor
    scale: float
    offset: float
    quiet: float
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawable:
    """What of a module is drawn, and what is not.

    Attributes:
        weights: In the order of registration.
        left: Names of parameters that keep their own values: integers, packed or sparse ones.
        halves: Tensors in half precision that are not drawn; they are computed in float32 as well.
    """

    weights: tuple[Weight, ...]
    left: tuple[str, ...]
    halves: tuple[torch.Tensor, ...]

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The dtypes of the drawn tensors, sorted."""
        return tuple(sorted({str(weight.tensor.dtype).removeprefix("torch.") for weight in self.weights}))


def drawable(module: torch.nn.Module) -> Drawable:
    """The tensors of `module` that are drawn: parameters, running statistics, buffers of frozen norms."""
    weights: dict[int, Weight] = {}
    left: list[str] = []
    halves: list[torch.Tensor] = []
    for path, owner in module.named_modules(remove_duplicate=False):
        for kind, tensors in (("parameter", owner._parameters), ("buffer", owner._buffers)):
            for own_name, tensor in tensors.items():
                if tensor is None:
                    continue
                name = f"{path}.{own_name}" if path else own_name
                if (known := weights.get(id(tensor))) is not None:
                    if name not in (known.name, *known.aliases):
                        weights[id(tensor)] = _with_alias(known, name)
                elif (drawn := _rule(owner, own_name, tensor, kind)) is not None:
                    weights[id(tensor)] = Weight(name, tensor, *drawn)
                elif kind == "parameter" and name not in left:
                    left.append(name)
                elif tensor.dtype in HALVES and tensor.layout is torch.strided:
                    halves.append(tensor)
    return Drawable(tuple(weights.values()), tuple(left), tuple(halves))


def _with_alias(weight: Weight, name: str) -> Weight:
    return dataclasses.replace(weight, aliases=(*weight.aliases, name))


def _rule(owner: torch.nn.Module, name: str, tensor: torch.Tensor, kind: str) -> tuple[float, float, float] | None:
    """(scale, offset, factor in the quiet probe); None for a tensor that keeps its values."""
    plain = type(tensor.data) is torch.Tensor and tensor.layout is torch.strided and not tensor.is_meta
    if not plain or not tensor.is_floating_point() or not tensor.numel():
        return None
    shape = tuple(tensor.shape)
    if kind == "buffer":
        if name == "running_mean":
            return 0.1, 0.0, QUIET
        if name == "running_var":
            return 0.25, 1.0, QUIET * QUIET
        if name in _SPECTRAL_VECTORS and len(shape) == 1:
            return 1 / math.sqrt(shape[0]), 0.0, 1.0
        if not ("Norm" in type(owner).__name__ and name in ("weight", "bias")):
            return None
    if tensor.numel() == 1:
        return 0.1, 0.5, 1.0
    if len(shape) == 1:
        is_bias = "bias" in name or "beta" in name
        return (0.1, 0.0, QUIET) if is_bias else (0.1, 1.0, QUIET)
    if isinstance(owner, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return 1.0, 0.0, QUIET
    if shape[0] == 1 and not isinstance(owner, torch.nn.Linear | _CONVOLUTIONS):
        return 0.5, 0.0, QUIET
    kernel = isinstance(owner, _CONVOLUTIONS) or len(shape) > 3
    fan_in = tensor.numel() // shape[0] if kernel else shape[-1]
    return 1 / math.sqrt(fan_in), 0.0, 1.0


def draw(key: str, into: torch.Tensor, *, scale: float = 1.0, offset: float = 0.0) -> None:
    """Fill a contiguous float tensor on the CPU with ``offset + scale * u``.

    Args:
        key: Names the stream, with the tensor's shape: equal keys and shapes give equal values.
        into: (any shape) float32 or float64.
        scale, offset: Rounded to float32 before they are used.
    """
    stream = np.random.PCG64(zlib.crc32(f"{key}{list(into.shape)}".encode()))
    flat, step = into.view(-1), float(np.float32(scale * _STEP))
    for start in range(0, flat.numel(), _CHUNK):
        part = flat[start : start + _CHUNK]
        raw = stream.random_raw(-(-part.numel() // 4)).astype("<u8", copy=False)
        part.copy_(torch.from_numpy(raw.view("<i2")[: part.numel()]))
        part.add_(0.5).mul_(step)
        if offset:
            part.add_(offset)


@dataclass(slots=True)
class DrawnWeights:
    """The weights of a module while they are drawn."""

    _weights: tuple[Weight, ...]
    _wobbles: int = field(default=0)

    def quieten(self) -> None:
        """Go from the plain probe to the quiet one."""
        self._scale(lambda factor: factor)

    def _scale(self, factor_of: Callable[[float], float]) -> None:
        for weight in self._weights:
            if weight.quiet != 1.0:
                weight.tensor.data.mul_(factor_of(weight.quiet))

    def plain_again(self) -> None:
        """Go back; up to rounding."""
        self._scale(lambda factor: 1 / factor)

    def wobble(self) -> None:
        """Change every weight by 1e-5 of its drawn value: rows by drawn signs, then by the opposite ones; then columns.

        A choice between near ties that one direction leaves alone is turned over by the opposite one.
        """
        before = _factors(self._weights, self._wobbles - 1)
        for weight, old, new in zip(self._weights, before, _factors(self._weights, self._wobbles), strict=True):
            if old.shape == new.shape:
                _rows(weight).mul_(new / old)
            else:
                _rows(weight).mul_(new).div_(old)
        self._wobbles += 1


def _rows(weight: Weight) -> torch.Tensor:
    data = weight.tensor.data
    return data.view(data.shape[0], -1) if data.dim() else data.view(1, 1)


def _factors(weights: Sequence[Weight], wobble: int) -> Iterator[torch.Tensor]:
    """What the drawn values of each weight are multiplied by in a wobble: (rows, 1) or (1, columns)."""
    direction, opposite = divmod(wobble, 2)
    generator = torch.Generator().manual_seed(max(0, direction))
    step = 0.0 if wobble < 0 else -WOBBLE if opposite else WOBBLE
    for weight in weights:
        rows = _rows(weight)
        size = (1, rows.shape[1]) if direction > 0 and weight.tensor.dim() > 1 else (rows.shape[0], 1)
        yield (1 + step * (torch.randint(0, 2, size, generator=generator) * 2 - 1)).to(rows)


def _renamed(weight: Weight, found: Drawable, key: str) -> Weight:
    """`weight` as it is drawn under `key`; where that is another weight of equal shape, by its rule."""
    like = next((other for other in found.weights if other.name == key), weight)
    like = like if like.tensor.shape == weight.tensor.shape else weight
    return dataclasses.replace(weight, name=key, scale=like.scale, offset=like.offset, quiet=like.quiet)


@contextmanager
def drawn_weights(found: Drawable, keys: Mapping[str, str] | None = None) -> Iterator[DrawnWeights]:
    """Give the weights drawn values, and their own back at the end.

    The tensors' own memory is neither written nor copied: each is pointed to new memory meanwhile, one copy of the
    weights in all. Tensors in half precision become float32.

    Args:
        found: From `drawable`.
        keys: Name -> the name that it is drawn under; None: its own.
    """
    weights = [_renamed(weight, found, (keys or {}).get(weight.name, weight.name)) for weight in found.weights]
    tensors = [*(weight.tensor for weight in found.weights), *found.halves]
    originals = [tensor.data for tensor in tensors]
    try:
        for weight in weights:
            own = weight.tensor.data
            made = torch.empty(own.shape, dtype=own.dtype if own.dtype == torch.float64 else torch.float32)
            draw(weight.name, made, scale=weight.scale, offset=weight.offset)
            weight.tensor.data = made.to(own.device)
        for tensor in found.halves:
            tensor.data = tensor.data.float()
        yield DrawnWeights(tuple(weights))
    finally:
        for tensor, own in zip(tensors, originals, strict=True):
            tensor.data = own
