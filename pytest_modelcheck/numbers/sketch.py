"""A tensor as a few numbers that rounding barely moves and that a change anywhere in it does.

The elements, in logical order, fall into 16 blocks; each gives the sum of its elements under fixed signs, over the root
of their number. With them come the root mean square (rms) and the largest magnitude. A permutation, a shift, or a
change of one row changes several of the sums. Integers and bools are locked exactly, by a checksum.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

_LARGEST = 65_536
"""Elements that a sketch reads; of a larger tensor every n-th, evenly spaced."""

_BLOCKS = 16
_HUGE = 1e30
"""Larger values are counted with those that are not finite: a mask of ``finfo.min`` and one of ``-inf`` are equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """What is kept of a tensor.

    Attributes:
        dtype: Such as ``"float32"``.
        shape: Its sizes.
        numbers: rms, largest magnitude, and up to 16 signed sums; empty for integers and bools.
        left_out: Elements that are not finite or over 1e30; they count as 0 in `numbers`.
        checksum: Of integers and bools, 8 hexadecimal digits; empty for others.
    """

    dtype: str
    shape: tuple[int, ...]
    numbers: tuple[float, ...] = ()
    left_out: int = 0
    checksum: str = ""

    def distance(self, other: Sketch) -> float:
        """Largest difference of two numbers, in units of this sketch's rms; inf where they cannot be compared."""
        if (self.shape, self.left_out) != (other.shape, other.left_out) or len(self.numbers) != len(other.numbers):
            return math.inf
        if self.checksum != other.checksum:
            return math.inf
        if not self.numbers:
            return 0.0
        difference = max(abs(a - b) for a, b in zip(self.numbers, other.numbers, strict=True))
        return difference / self.numbers[0] if self.numbers[0] else math.inf if difference else 0.0


def sketch(tensor: torch.Tensor) -> Sketch:
    """The sketch of a tensor of any dtype, device, layout and shape."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    tensor = _dense(tensor)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        content = np.ascontiguousarray(tensor.cpu().numpy().astype("<i8"))
        return Sketch(dtype=dtype, shape=tuple(tensor.shape), checksum=f"{zlib.crc32(content.tobytes()):08x}")
    values, left_out = _values(tensor)
    if not values.numel():
        return Sketch(dtype=dtype, shape=tuple(tensor.shape), left_out=left_out)
    width = -(-values.numel() // _BLOCKS)
    signed = torch.nn.functional.pad(values * signs()[: values.numel()], (0, -values.numel() % width))
    sums = signed.view(-1, width).sum(1) / math.sqrt(width)
    rms, largest = values.square().mean().sqrt(), values.abs().max()
    numbers = (float(rms), float(largest), *sums.tolist())
    return Sketch(dtype=dtype, shape=tuple(tensor.shape), numbers=numbers, left_out=left_out)


def short_sketch(tensor: torch.Tensor) -> float:
    """One number: 4 rms and the sum of all elements under fixed signs over the root of their number.

    Never near 0 unless the tensor is, so that two of them can be compared by their ratio.
    """
    tensor = _dense(tensor)
    values, left_out = _values(tensor if tensor.is_complex() or tensor.is_floating_point() else tensor.double())
    if not values.numel():
        return float(left_out)
    rms = float(values.square().mean().sqrt())
    return 4 * rms + float((values * signs()[: values.numel()]).sum()) / math.sqrt(values.numel()) + left_out


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return tensor.to_dense() if tensor.layout is not torch.strided else tensor


def _values(tensor: torch.Tensor) -> tuple[torch.Tensor, int]:
    """At most 65,536 elements as float64 on the CPU, and how many of all elements are not finite or huge."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    flat = tensor.reshape(-1)
    step = -(-flat.numel() // _LARGEST) or 1
    values = flat[::step].double().cpu()
    if not flat.numel() or float(flat.abs().max()) <= _HUGE:
        return values, 0
    usable = flat.abs() <= _HUGE
    return torch.where(usable[::step].cpu(), values, 0.0), flat.numel() - int(usable.sum())


@lru_cache(maxsize=1)
def signs() -> torch.Tensor:
    """65,536 fixed signs as float64."""
    bits = np.unpackbits(np.random.PCG64(0).random_raw(_LARGEST // 64).astype("<u8", copy=False).view(np.uint8))
    return torch.from_numpy(bits.astype(np.float64) * 2 - 1)
