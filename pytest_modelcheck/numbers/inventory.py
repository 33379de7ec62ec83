"""The modules of a model in the order of their calls, with the weights that each owns."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from pytest_modelcheck.numbers.drawing import Drawable
from pytest_modelcheck.numbers.results import ModuleNumbers, Probe
from pytest_modelcheck.numbers.watching import Watched

_SHOWN = 3


def module_numbers(
    module: torch.nn.Module, found: Drawable, watched: Mapping[Probe, Watched], locked: bool
) -> dict[str, ModuleNumbers]:
    """Path -> class, weights and numbers of every module that was called or owns a drawn weight.

    The order is that of the first call; a module that was not called comes after its parent. So it does not depend on
    the order in which a constructor names its parts.
    """
    owned: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for weight in found.weights:
        path, _, name = weight.name.rpartition(".")
        owned.setdefault(path, []).append((name, tuple(weight.tensor.shape)))
    called = {path: place for place, path in enumerate(watched["plain"].called)}
    classes = {path: type(submodule).__name__ for path, submodule in module.named_modules()}

    def place(path: str) -> tuple[int, bool]:
        parent = path
        while parent not in called and parent:
            parent = parent.rpartition(".")[0]
        return called.get(parent, -1), parent != path

    rows = {}
    for path in sorted((path for path in classes if path in called or path in owned), key=place):
        numbers = {
            (direction, probe): tuple(watched[probe].numbers[path, direction])
            for direction in ("in", "out")
            for probe in watched
            if locked and path and (path, direction) in watched[probe].numbers
        }
        rows[path] = ModuleNumbers(class_name=classes[path], weights=tuple(owned.get(path, ())), numbers=numbers)
    return rows


def not_drawn(module: torch.nn.Module, found: Drawable) -> tuple[str, ...]:
    """One sentence each for weights that keep their own values, so that another checkpoint gives other numbers."""
    notes = []
    if found.left:
        notes.append(f"not drawn: {_few(found.left)}: integers, packed or sparse; their own values take part")
    packed = [path for path, submodule in module.named_modules() if hasattr(submodule, "_packed_params")]
    if packed:
        notes.append(f"not drawn: packed weights of {_few(packed)}; their own values take part")
    return tuple(notes)


def _few(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
