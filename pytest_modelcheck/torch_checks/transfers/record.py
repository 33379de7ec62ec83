"""Transfers between host and device, and the record that is kept while a forward pass runs."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

import torch

from pytest_modelcheck.torch_checks.memory.forward import storage_ref, tensors_in


class TransferKind(StrEnum):
    """`READ`: Python waits for a value. `SIZE`: an operator whose result's size depends on values waits for them.
    `TO_HOST`, `TO_DEVICE`: a copy across."""

    READ = "read"
    SIZE = "size"
    TO_HOST = "to host"
    TO_DEVICE = "to device"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One synchronising read or copy.

    Attributes:
        kind: See `TransferKind`.
        op: What did it, as it was called from Python where it was: ``"Tensor.__bool__"``, ``"torch.nonzero"``.
        source_line: ``"transformers/masking_utils.py:123: if padding_mask.all():"``: the innermost line outside torch.
        module: Path of the module whose forward was running; ``""`` for the root.
    """

    kind: TransferKind
    op: str
    source_line: str
    module: str


class TransferRecord:
    """Which tensors are on the device, which module is running, and the transfers so far."""

    def __init__(self) -> None:
        self.transfers: list[Transfer] = []
        self.call = ""  # the torch function that Python code is calling
        self.paused = False
        self.indexing = False  # within x[...] or x[...] = ... of a device tensor
        self._stack = [""]
        self._on_host: dict[int, Any] = {}
        # A weak reference keeps the address of a storage from being used again: an address names one storage.
        self._on_device: dict[int, Any] = {}

    def put_on_device(self, tensors: Sequence[torch.Tensor]) -> None:
        for ref in map(storage_ref, tensors):
            self._on_device[ref.cdata] = ref
            self._on_host.pop(ref.cdata, None)

    def put_on_host(self, tensors: Sequence[torch.Tensor]) -> None:
        for ref in map(storage_ref, tensors):
            self._on_device.pop(ref.cdata, None)
            self._on_host[ref.cdata] = ref

    def on_device(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and storage_ref(value).cdata in self._on_device

    def on_host(self, value: Any) -> bool:
        """Whether a tensor is known to be on the host; one that a library function made inside is on neither side."""
        return isinstance(value, torch.Tensor) and storage_ref(value).cdata in self._on_host

    def any_on_device(self, tree: Any) -> bool:
        return any(self.on_device(tensor) for tensor in tensors_in(tree))

    def any_on_host(self, tree: Any) -> bool:
        return any(self.on_host(tensor) for tensor in tensors_in(tree))

    def add(self, kind: TransferKind, op: str) -> None:
        if not self.paused:
            self.transfers.append(Transfer(kind, self.call or op, source_line(), self._stack[-1]))

    @contextmanager
    def modules(self, root: torch.nn.Module) -> Iterator[None]:
        """Follow which module's forward is running."""
        with ExitStack() as hooks:
            for path, module in root.named_modules():
                hooks.callback(module.register_forward_pre_hook(self._entering(path)).remove)
                hooks.callback(module.register_forward_hook(self._leaving, always_call=True).remove)
            yield

    def _entering(self, path: str) -> Callable[..., None]:
        def enter(module: torch.nn.Module, args: Any) -> None:
            self._stack.append(path)

        return enter

    def _leaving(self, module: torch.nn.Module, args: Any, result: Any) -> None:
        self._stack.pop()


_TORCH = os.path.dirname(torch.__file__) + os.sep
_HERE = os.path.dirname(__file__) + os.sep


def source_line() -> str:
    """The innermost line outside torch and this folder."""
    frame = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename.startswith((_TORCH, _HERE))):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    path = PurePath(frame.f_code.co_filename)
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno}: {text}"
