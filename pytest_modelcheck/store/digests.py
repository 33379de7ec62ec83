"""Short digests of contents, the same in every process."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

_SHORT = 120
_LANES = 1 << 15
"""256 KiB: they stay in the cache of a core."""
_ODD = np.uint64(0x9E3779B97F4A7C15)


def digest(data: Any) -> str:
    """A short digest of a contiguous buffer, the same in every process."""
    return hashlib.sha256(data).hexdigest()[:32]


def large_digest(data: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    """A digest of a large flat buffer, at the speed of memory: SHA-256 takes 0.44 s for the 438 MB of a BERT-base.

    Each of `_LANES` words of 64 bits takes in every `_LANES`-th word: ``(lane ^ lane >> 32) * odd + word``. The shift
    brings the sign bits of two floats, which would cancel in a product alone, into the lower half. SHA-256
    over the lanes and what is left makes the digest. It sees every edit that nobody computed in order to hide it.
    """
    lanes = np.zeros(_LANES, np.uint64)
    shifted = np.empty_like(lanes)
    whole = data.size // lanes.nbytes * lanes.nbytes
    for row in data[:whole].view(np.uint64).reshape(-1, _LANES):
        np.right_shift(lanes, 32, out=shifted)
        np.bitwise_xor(lanes, shifted, out=lanes)
        np.multiply(lanes, _ODD, out=lanes)
        np.add(lanes, row, out=lanes)
    made = hashlib.sha256(lanes.data)
    made.update(data[whole:].data)
    made.update(str(data.size).encode())
    return made.hexdigest()[:32]


def shortened(text: str) -> str:
    """`text`, or its beginning and a digest where it is long."""
    return text if len(text) <= _SHORT else f"{text[:40]}... ({len(text)} characters, {digest(text.encode())})"
