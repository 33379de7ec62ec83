"""Nested arguments taken apart into tensors by name, and put together again around other tensors.

An argument is a tensor, a plain constant, or a mapping, sequence, dataclass or key/value cache of such. A cache of
transformers is renewed for each call, because the forward writes into it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_modelcheck.errors import ModelCaseError


@dataclass(frozen=True, slots=True)
class Leaf:
    """The place of input tensor number `index` in the arguments of the forward."""

    index: int


@dataclass(frozen=True, slots=True)
class Fields:
    """A dataclass, such as an output of transformers that is another module's input: its type and its fields."""

    type: Callable[..., Any]
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CacheParts:
    """A key/value cache.

    Attributes:
        empty: The cache without its tensors.
        layers: Per layer ``{"key": ..., "value": ...}``; empty for a layer that holds nothing yet.
        whole: Per layer whether it holds all positions that it has seen, as one with a sliding window may not.
    """

    empty: Any
    layers: tuple[Mapping[str, Any], ...]
    whole: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class CachePair:
    """The cache of an encoder-decoder: of its own positions, and of the encoder's."""

    empty: Any
    decoder: CacheParts
    encoder: CacheParts


def take_apart(value: Any, path: str, leaves: dict[str, torch.Tensor]) -> Any:
    """`value` with each tensor replaced by its place; the tensors are added to `leaves` under their paths.

    A cache names its tensors ``<path>.<layer>.key`` and ``.value``; that of an encoder-decoder
    ``<path>.<layer>.decoder.key`` and ``<path>.<layer>.encoder.key``.

    Raises:
        ModelCaseError: for two tensors of one name, and for what cannot be taken apart.
    """
    if isinstance(value, torch.Tensor):
        if path in leaves:
            raise ModelCaseError(f"two input tensors have the name {path!r}")
        leaves[path] = value
        return Leaf(len(leaves) - 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        items = {name: take_apart(item, f"{path}.{name}", leaves) for name, item in fields.items()}
        return Fields(type(value), items)
    if isinstance(value, Mapping):
        return {key: take_apart(item, f"{path}.{key}", leaves) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _like_sequence(value, [take_apart(item, f"{path}.{index}", leaves) for index, item in enumerate(value)])
    if value is None or isinstance(value, bool | int | float | complex | str | torch.dtype | torch.device):
        return value
    if is_cache_pair(value):
        return _pair_parts(value, path, leaves)
    if is_cache(value):
        layers = range(len(value.layers))
        return _cache_parts(value, [_layer_parts(value, index, f"{path}.{index}", leaves) for index in layers])
    raise ModelCaseError(
        f"input {path!r} is a {type(value).__name__}; an input is a tensor, a dict, list, tuple, dataclass or "
        f"DynamicCache of tensors, or a plain constant (torch.from_numpy makes a tensor of an array)"
    )


def put_together(value: Any, tensors: Sequence[Any]) -> Any:
    """What `take_apart` was given, with other tensors in the places of its own; caches are new objects each time."""
    if isinstance(value, Leaf):
        return tensors[value.index]
    if isinstance(value, Fields):
        return value.type(**{name: put_together(item, tensors) for name, item in value.fields.items()})
    if isinstance(value, CacheParts):
        return _filled(value, tensors)
    if isinstance(value, CachePair):
        pair = copy.copy(value.empty)
        pair.is_updated = dict(value.empty.is_updated)
        pair.self_attention_cache = _filled(value.decoder, tensors)
        pair.cross_attention_cache = _filled(value.encoder, tensors)
        return pair
    if isinstance(value, dict):
        return {key: put_together(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _like_sequence(value, [put_together(item, tensors) for item in value])
    return value


def is_cache(value: Any) -> bool:
    """Whether a value is a key/value cache of transformers, known by its layers."""
    layers = getattr(value, "layers", None)
    return isinstance(layers, list) and all(hasattr(layer, "keys") and hasattr(layer, "values") for layer in layers)


def is_cache_pair(value: Any) -> bool:
    """Whether a value is the cache of an encoder-decoder."""
    return is_cache(getattr(value, "self_attention_cache", None)) and is_cache(
        getattr(value, "cross_attention_cache", None)
    )


def _layer_parts(cache: Any, index: int, path: str, leaves: dict[str, torch.Tensor]) -> dict[str, Any]:
    layer = cache.layers[index]
    if isinstance(getattr(layer, "cumulative_length", None), torch.Tensor):
        raise ModelCaseError(
            f"input {path!r} is a layer of a {type(cache).__name__}, into whose tensors the forward writes: give a "
            "DynamicCache, whose tensors grow, or the tensors themselves"
        )
    if layer.keys is None:
        return {}
    return {name: take_apart(part, f"{path}.{name}", leaves) for name, part in _tensors_of(layer).items()}


def _tensors_of(layer: Any) -> dict[str, torch.Tensor]:
    return {"key": layer.keys, "value": layer.values}


def _cache_parts(cache: Any, layers: Sequence[Mapping[str, Any]]) -> CacheParts:
    whole = []
    empty = copy.copy(cache)
    empty.layers = []
    for layer in cache.layers:
        whole.append(layer.keys is not None and getattr(layer, "cumulative_length", None) == layer.keys.shape[-2])
        bare = copy.copy(layer)
        bare.keys = bare.values = None
        empty.layers.append(bare)
    return CacheParts(empty, tuple(layers), tuple(whole))


def _pair_parts(pair: Any, path: str, leaves: dict[str, torch.Tensor]) -> CachePair:
    caches = {"decoder": pair.self_attention_cache, "encoder": pair.cross_attention_cache}
    layers: dict[str, list[Mapping[str, Any]]] = {role: [] for role in caches}
    for index in range(max(len(cache.layers) for cache in caches.values())):
        for role, cache in caches.items():
            if index < len(cache.layers):
                layers[role].append(_layer_parts(cache, index, f"{path}.{index}.{role}", leaves))
    empty = copy.copy(pair)
    empty.self_attention_cache = empty.cross_attention_cache = None
    return CachePair(empty, *(_cache_parts(cache, layers[role]) for role, cache in caches.items()))


def _filled(parts: CacheParts, tensors: Sequence[Any]) -> Any:
    cache = copy.copy(parts.empty)
    cache.layers = [copy.copy(layer) for layer in parts.empty.layers]
    for layer, places, whole in zip(cache.layers, parts.layers, parts.whole, strict=True):
        if places:
            layer.keys, layer.values = (put_together(places[name], tensors) for name in ("key", "value"))
        if whole:
            layer.cumulative_length = layer.keys.shape[-2]
    return cache


def _like_sequence(original: Sequence[Any], items: list[Any]) -> Any:
    if hasattr(original, "_fields"):
        return type(original)(*items)
    return tuple(items) if isinstance(original, tuple) else items
