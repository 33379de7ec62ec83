"""One number for every tensor that goes into or comes out of a module, at the place where it first appears."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.weak import WeakTensorKeyDictionary

from pytest_modelcheck.hierarchy.dataflow import tensors_in
from pytest_modelcheck.numbers.sketch import short_sketch

IN, OUT = "in", "out"
Place = tuple[str, str, int]
"""Module path, ``in`` or ``out``, and which of the module's tensors of that direction."""


@dataclass(slots=True)
class Watched:
    """What one forward showed.

    Attributes:
        numbers: (module path, direction) -> one number per new tensor, over all calls of the module.
        events: The places of those numbers, in the order in which they were computed.
        called: Module paths in the order of their first call.
    """

    numbers: dict[tuple[str, str], list[float | None]] = field(default_factory=dict)
    events: list[Place] = field(default_factory=list)
    called: list[str] = field(default_factory=list)

    def add(self, path: str, direction: str, tensor: torch.Tensor) -> None:
        """Keep one number of a tensor."""
        numbers = self.numbers.setdefault((path, direction), [])
        self.events.append((path, direction, len(numbers)))
        with _disable_current_modes():  # what watches the forward need not see this
            numbers.append(short_sketch(tensor))

    def forget(self, place: Place) -> None:
        """Leave out a number that varies from run to run."""
        path, direction, index = place
        numbers = self.numbers.get((path, direction), [])
        if index < len(numbers):
            numbers[index] = None


@contextmanager
def watching(module: torch.nn.Module, inputs: Iterable[torch.Tensor]) -> Iterator[Watched]:
    """Watch the forwards of `module` and of everything below it. What goes in is known: it is shown for no module."""
    watched = Watched()
    versions: Any = WeakTensorKeyDictionary()
    for tensor in inputs:
        versions[tensor] = _version(tensor)

    def note(path: str, direction: str, value: Any) -> None:
        for tensor in tensors_in(value):
            if versions.get(tensor) != _version(tensor):
                versions[tensor] = _version(tensor)
                watched.add(path, direction, tensor)

    def hooks(path: str) -> tuple[Any, Any]:
        def before(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if path not in called:
                called.add(path)
                watched.called.append(path)
            note(path, IN, (args, kwargs))

        def after(_module: torch.nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
            note(path, OUT, output)

        return before, after

    called: set[str] = set()
    handles = []
    try:
        for path, submodule in module.named_modules():
            if isinstance(submodule, torch.jit.ScriptModule):  # takes no hooks
                continue
            before, after = hooks(path)
            handles.append(submodule.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(submodule.register_forward_hook(after, with_kwargs=True))
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def _version(tensor: torch.Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
