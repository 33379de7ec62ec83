"""Texts of values whose `repr` is their content, and digests."""

from __future__ import annotations

import enum
import hashlib
import pathlib
import re
from typing import Any

import numpy as np
import torch

_PLAIN: tuple[type, ...] = (
    *(bool, int, float, complex, range, slice, type(None), type(Ellipsis), type(NotImplemented)),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
_SHORT = 120


def plain_text(value: Any) -> str | None:
    """The text of a plain value (a number, a string, a tuple or list of such, ...); None for everything else.

    A subclass of int or str counts by its name, too: it may behave differently.
    """
    kind = type(value)
    if kind is str:
        return shortened(repr(value))
    if kind in _PLAIN:
        return repr(value)
    if kind in (bytes, bytearray):
        return f"{kind.__name__} of {len(value)}: {digest_bytes(bytes(value))}"
    if isinstance(value, enum.Enum):
        return f"{qualified_name(kind)}.{value.name}"
    if isinstance(value, np.generic | np.dtype):
        return repr(value)
    if isinstance(value, pathlib.PurePath):
        return f"path {str(value)!r}"
    if isinstance(value, re.Pattern):
        return f"pattern {value.pattern!r} {value.flags}"
    if kind in (tuple, list) or kind is torch.Size:
        texts = [plain_text(item) for item in value] if len(value) < 10_000 else [None]
        if None in texts:
            return None
        brackets = "[]" if kind is list else "()"
        return shortened(f"{brackets[0]}{', '.join(map(str, texts))}{brackets[1]}")
    if kind is frozenset:
        members = [plain_text(item) for item in value]
        return None if None in members else shortened(f"frozenset {sorted(map(str, members))}")
    return None


def digest_bytes(data: Any) -> str:
    """A short digest of a contiguous buffer, the same in every process."""
    return hashlib.sha256(data).hexdigest()[:32]


def shortened(text: str) -> str:
    """`text`, or its beginning and a digest where it is long."""
    return text if len(text) <= _SHORT else f"{text[:40]}... ({len(text)} characters, {digest_bytes(text.encode())})"


def qualified_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
