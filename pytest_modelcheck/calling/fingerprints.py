"""What tells two states of a module apart: hashes of tensors, memory that is shared, values of attributes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.calling.inputs import describe


def module_tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor for name, tensor in named if not torch.nn.parameter.is_lazy(tensor)}


def tensor_hash(tensor: torch.Tensor) -> str:
    """SHA-256 over dtype, shape and bytes, in hexadecimal: equal for equal bits, whatever the strides."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    made = hashlib.sha256(describe(plain).encode())
    if plain.numel():
        made.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return made.hexdigest()


def state_hashes(module: torch.nn.Module, *, runtime: bool = True) -> dict[str, str]:
    """Name -> hash of every parameter and buffer; without `runtime` of the entries of the state dict only."""
    if not runtime:
        state = module.state_dict()
        return {name: tensor_hash(value) for name, value in state.items() if isinstance(value, torch.Tensor)}
    return {name: tensor_hash(tensor) for name, tensor in module_tensors(module).items()}


def output_hashes(outputs: Mapping[str, torch.Tensor]) -> dict[str, str]:
    return {name: tensor_hash(tensor) for name, tensor in outputs.items()}


def hash_of(outputs: Mapping[str, torch.Tensor], name: str) -> str | None:
    return tensor_hash(outputs[name]) if name in outputs else None


def buffer_hashes(module: torch.nn.Module) -> dict[str, str]:
    return {name: tensor_hash(buffer) for name, buffer in module.named_buffers()}


def shared_entries(module: torch.nn.Module) -> frozenset[tuple[str, ...]]:
    """Groups of entries that lie in the same memory."""
    groups: dict[int, list[str]] = {}
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.numel():
            groups.setdefault(tensor.data_ptr(), []).append(name)
    return frozenset(tuple(names) for names in groups.values() if len(names) > 1)


def outside_state(module: torch.nn.Module) -> dict[str, str]:
    """Path -> hash of the tensors that are not in the state: other buffers, and plain attributes."""
    entries = set(module.state_dict())
    found = {name: tensor_hash(buffer) for name, buffer in module.named_buffers() if name not in entries}
    return found | {path: value for path, value in attribute_texts(module).items() if value.startswith("tensor ")}


def attribute_texts(module: torch.nn.Module) -> dict[str, str]:
    """Path -> a text that tells two values apart, for the plain attributes of every submodule."""
    return {
        f"{path}.{name}" if path else name: text
        for path, submodule in module.named_modules()
        for name, value in submodule.__dict__.items()
        for text in _texts(value)
        if not name.startswith("_") or isinstance(value, torch.Tensor | int | float | str)
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, torch.Tensor):
        yield f"tensor {tensor_hash(value)}"
    elif isinstance(value, bool | int | float | str):
        yield repr(value)
    elif isinstance(value, list | tuple):
        yield "; ".join(text for item in value for text in _texts(item))


def array_hash(array: np.ndarray[Any, np.dtype[Any]]) -> str:
    """The same hash as `tensor_hash` of an equal tensor."""
    made = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    made.update(array.tobytes())
    return made.hexdigest()
