"""Bytes that one forward pass allocates, counted exactly and without computing it.

The module runs on fake tensors, which have shapes, dtypes and storages of the right size but no content; a dispatch
mode under it sees every operator's result. A storage counts when it first appears and until nothing refers to it.
Parameters, buffers and inputs do not count; scratch memory inside a kernel is not seen.

CUDA's allocator is asked for the same peak, byte for byte, by a BERT layer with either attention, normalization and
perceptrons (torch 2.11, H100), and takes up to 1.25 times that: blocks of 512 bytes, and the rest of a large one.
Convolutions need 1.5 times the count, an LSTM by cuDNN many times: that is scratch memory.

Fake tensors live on the CPU: the meta device would take another path through attention and count its score matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedOperatorException,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves, tree_map

from pytest_modelcheck.calling import ModuleInputs, WatchingMode, eval_mode
from pytest_modelcheck.errors import ModelCaseError


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of one forward pass, in bytes.

    Attributes:
        peak: The most that was allocated at the same time.
        total: All that was allocated.
        computed: Whether the pass was really computed, because its control flow reads values; the count is the same.
    """

    peak: int
    total: int
    computed: bool = False


def peak_memory(module: torch.nn.Module, inputs: ModuleInputs | Mapping[str, Any] | Sequence[Any]) -> MemoryUse:
    """Count what one forward pass in eval mode, without gradients, allocates.

    Args:
        module: On the CPU. It gets its training mode back.
        inputs: By keyword or in order; tensors and other values.

    Raises:
        ModelCaseError: if the forward raises.
    """
    args, kwargs = call_arguments(inputs)
    with torch.no_grad(), eval_mode(module), torch.random.fork_rng(devices=[]):
        try:
            return _count_fake(module, args, kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException):
            return _count_computed(module, args, kwargs)
        except Exception as error:  # whatever a user's forward raises becomes the error of the case
            raise ModelCaseError(f"the forward raised {type(error).__name__}: {error}") from error


def call_arguments(inputs: ModuleInputs | Mapping[str, Any] | Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, ModuleInputs):
        return (), inputs.forward_arguments()
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return ((inputs,), {}) if isinstance(inputs, torch.Tensor) else (tuple(inputs), {})


def tensors_in(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _count_fake(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MemoryUse:
    fake, call, known = fake_call(module, args, kwargs)
    with fake, _Allocations(known) as allocations:
        call()
    return MemoryUse(allocations.peak, allocations.total)


def fake_call(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[FakeTensorMode, Callable[[], object], list[torch.Tensor]]:
    """The mode, one forward pass under it on fake copies of weights and inputs, and those copies."""
    # Tensors that a module keeps in plain attributes are not replaced: the mode lets them in as they are.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    made: dict[torch.Tensor, torch.Tensor] = {}

    def to_fake(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value not in made:  # tied weights stay one tensor
            made[value] = fake.from_tensor(value)
        return made[value]

    named = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    weights = {name: to_fake(tensor) for name, tensor in named}
    args, kwargs = tree_map(to_fake, args), tree_map(to_fake, kwargs)
    return fake, partial(torch.func.functional_call, module, weights, args, kwargs), list(made.values())


def _count_computed(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MemoryUse:
    with _Allocations([*module.parameters(), *module.buffers(), *tensors_in((args, kwargs))]) as allocations:
        try:
            module(*args, **kwargs)
        except Exception as error:  # whatever a user's forward raises becomes the error of the case
            raise ModelCaseError(f"the forward raised {type(error).__name__}: {error}") from error
    return MemoryUse(allocations.peak, allocations.total, computed=True)


class _Allocations(WatchingMode):
    """Counts the storages that operators return and that were not there before."""

    def __init__(self, known: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # A weak reference keeps the address of a storage from being used again: an address names one storage.
        self._known = {ref.cdata: ref for ref in map(storage_ref, known)}
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._live = {key: entry for key, entry in self._live.items() if not _expired(entry[0])}
        for tensor in tensors_in(result):
            ref = storage_ref(tensor)
            if ref.cdata not in self._known and ref.cdata not in self._live:
                size = tensor.untyped_storage().nbytes()
                self._live[ref.cdata] = (ref, size)
                self.total += size
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return result


def storage_ref(tensor: torch.Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _expired(ref: StorageWeakRef) -> bool:
    return bool(ref.expired())  # type: ignore[no-untyped-call]
