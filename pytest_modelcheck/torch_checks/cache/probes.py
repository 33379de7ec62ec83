"""Changes to a cache that a comparison must see; one that it does not see proves nothing about the cache."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.accuracy.magnitude import allowed
from pytest_modelcheck.accuracy.metrics import is_float
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.torch_checks.cache.protocol import Stepper
from pytest_modelcheck.torch_checks.cache.streams import Arrays, Limits, run
from pytest_modelcheck.torch_checks.cache.tensors import cache_tensors, with_tensors

ROWS_EXCHANGED = "rows of the batch exchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """One change to the cache, and what it did to the next position.

    Attributes:
        change: Such as ``"layers.0.keys set to zero"``.
        effect: The difference that exceeds its tolerance the most, in the output's unit.
        limit: The tolerance of that element.
    """

    change: str
    effect: float
    limit: float

    @property
    def seen(self) -> bool:
        """Whether a comparison with this tolerance would have failed."""
        return not self.effect <= self.limit


def probe_cache(stepper: Stepper, position: int, reference: Arrays, limits: Limits) -> tuple[ProbeResult, ...]:
    """Change the cache of the first `position` positions, each way once, and run one position more."""
    cache = run(stepper, "", [position]).cache
    right = _next_position(stepper, position, with_tensors(cache, cache_tensors(cache)))
    results = []
    for change, changed in _changes(cache, reference, limits):
        outputs = _next_position(stepper, position, with_tensors(cache, changed))
        results.append(_strongest(change, right, outputs, reference, limits))
    return tuple(results)


def _next_position(stepper: Stepper, position: int, cache: Any) -> Arrays:
    return run(stepper, "", [1], cache=cache, start=position).chunks[0].outputs


def _changes(cache: Any, reference: Arrays, limits: Limits) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    tensors = {path: t for path, t in cache_tensors(cache).items() if t.is_floating_point() and t.numel()}
    for path, tensor in tensors.items():
        yield f"{path} set to zero", {path: torch.zeros_like(tensor)}
    rows = {array.shape[0] for array in reference.values() if array.ndim > limits.axis > 0}
    exchanged = {path: t.roll(1, 0) for path, t in tensors.items() if t.ndim > 1 and {t.shape[0]} == rows}
    if exchanged and rows != {1}:
        yield ROWS_EXCHANGED, exchanged
    for path, neighbour in _neighbours(tensors):
        yield f"{path} exchanged with {neighbour}", {path: tensors[neighbour], neighbour: tensors[path]}


def _neighbours(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, str]]:
    """The same tensor of this layer and the next: the first number in the path is the layer's."""
    for path, tensor in tensors.items():
        match = re.search(r"(?<![^.])\d+(?![^.])", path)
        if match is None:
            continue
        neighbour = f"{path[: match.start()]}{int(match[0]) + 1}{path[match.end() :]}"
        if neighbour in tensors and tensors[neighbour].shape == tensor.shape:
            yield path, neighbour


def _strongest(change: str, right: Arrays, outputs: Arrays, reference: Arrays, limits: Limits) -> ProbeResult:
    """The effect in the output where it exceeds its tolerance the most."""
    best = ProbeResult(change=change, effect=0.0, limit=0.0)
    ratio = -1.0
    for name, array in right.items():
        if not is_float(array) or name not in reference:
            continue
        limit = allowed(reference[name], Tolerances(limits.atol, limits.rtol).of(name, array.dtype))
        with np.errstate(invalid="ignore", divide="ignore"):
            effects = np.abs(outputs[name].astype(np.float64) - array.astype(np.float64))
            effects[np.isnan(effects)] = np.inf
            ratios = np.where(effects > 0, effects / limit, 0.0)
        at = np.unravel_index(int(ratios.argmax()), ratios.shape)
        here = float(ratios[at])
        if here > ratio:
            best, ratio = ProbeResult(change=change, effect=float(effects[at]), limit=float(limit[at])), here
    return best
