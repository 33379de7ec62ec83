"""The tensors inside a key/value cache, whatever holds them: found by path, exchanged, written to a file, read back."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

_NO_CONTAINER = (torch.nn.Module, torch.dtype, torch.device, type, str, bytes, int, float, complex, type(None))


def cache_tensors(cache: Any) -> dict[str, torch.Tensor]:
    """Path -> tensor, for tuples, lists, mappings and objects in any nesting; a tensor held twice has its first path.

    A transformers `DynamicCache` gives ``layers.0.keys``, ``layers.0.values``, ...; a tuple of pairs ``0.0``, ``0.1``.
    """
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for path, tensor in _walk(cache, "", seen):
        found[path or "tensor"] = tensor
    return found


def _walk(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, _NO_CONTAINER) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield path, value
        return
    for name, item in _items(value):
        yield from _walk(item, f"{path}.{name}" if path else name, seen)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((str(index), item) for index, item in enumerate(value))
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def with_tensors(cache: Any, replaced: Mapping[str, torch.Tensor]) -> Any:
    """A copy of `cache` that shares no tensor with it, the tensors at these paths exchanged.

    Raises:
        KeyError: for a path that the cache does not have.
    """
    tensors = cache_tensors(cache)
    if unknown := [path for path in replaced if path not in tensors]:
        raise KeyError(f"the cache has no tensor {', '.join(unknown)}; it has {', '.join(tensors)}")
    # deepcopy asks its memo before it copies anything: whatever class holds a tensor, it gets the other one.
    return copy.deepcopy(cache, {id(tensors[path]): tensor.clone() for path, tensor in replaced.items()})


def fork(cache: Any) -> Any:
    """A copy of what holds the tensors, around the same tensors: the same cache, ready for a second continuation."""
    return copy.deepcopy(cache, {id(tensor): tensor for tensor in cache_tensors(cache).values()})


def save_cache(cache: Any, path: Path) -> None:
    """Write the tensors of `cache`, and nothing else of it."""
    torch.save({name: tensor.clone() for name, tensor in cache_tensors(cache).items()}, path)


def load_cache(like: Any, path: Path) -> Any:
    """A copy of the cache `like` with every tensor as it is in the file."""
    return with_tensors(like, torch.load(path, weights_only=True))
