"""State files that must not load: damaged ones and ones of another module, and what a loader does with each."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pytest_modelcheck.calling.fingerprints import state_hashes
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.torch_checks.state.file import Load, Save


@dataclass(frozen=True, slots=True, kw_only=True)
class BadFile:
    """One file that must be refused.

    Attributes:
        name: What is wrong with it.
        path: Where it is.
        words: The error must hold one of these: the file's name, or that of the entry which does not fit.
    """

    name: str
    path: Path
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a loader did with a bad file.

    Attributes:
        name: What is wrong with the file.
        fault: What the loader did wrong, in one clause; empty if it raised a clear error and changed nothing.
        error: What it raised.
    """

    name: str
    fault: str
    error: str


def bad_files(module: torch.nn.Module, good: Path, folder: Path, save: Save) -> Iterator[BadFile]:
    """Make the bad files from a good one, one after the other.

    Args:
        module: Whose state `good` holds.
        good: A file that `save` wrote.
        folder: Where to put them.
        save: The same function; it is given a copy of `module` whose `state_dict` tells something else.
    """
    content = good.read_bytes()
    yield BadFile(name="no file", path=folder / "absent", words=("absent",))
    damaged = {
        "an empty file": b"",
        "the first half": content[: len(content) // 2],
        "all but the last byte": content[:-1],
        "one flipped bit": _flipped(content, module),
        "a text file": b"no state, but a text\n" * 20,
    }
    for name, changed in damaged.items():
        path = folder / f"{name.replace(' ', '-')}{good.suffix}"
        path.write_bytes(changed)
        yield BadFile(name=name, path=path, words=(path.name,))
    twin = copy.deepcopy(module)
    for name, entry, state in _mismatching(module):
        path = folder / f"{name.replace(' ', '-')}{good.suffix}"
        twin.state_dict = lambda *args, made=state, **kwargs: made  # type: ignore[method-assign]
        save(twin, path)
        yield BadFile(name=name, path=path, words=(entry,))


def _flipped(content: bytes, module: torch.nn.Module) -> bytes:
    """One bit in the middle of the largest tensor's bytes; of the file, where they are not in it as they are."""
    tensors = [value for value in module.state_dict().values() if isinstance(value, torch.Tensor) and value.numel()]
    largest = max(tensors, key=lambda tensor: tensor.numel() * tensor.element_size())
    raw = largest.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    at = content.find(raw)
    at = at + len(raw) // 2 if at >= 0 else len(content) // 2
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def _mismatching(module: torch.nn.Module) -> Iterator[tuple[str, str, OrderedDict[str, Any]]]:
    """What is wrong, the entry it is wrong with, and the state. The other entries fit, with values of their own."""
    base = module.state_dict()
    names = [name for name, value in base.items() if isinstance(value, torch.Tensor) and value.is_floating_point()]
    if not names:
        raise ModelCheckError("the state holds no floating-point entry")
    last = names[-1]  # most entries come before it: a loader that copies as it goes has copied them by then
    for number, (name, edit) in enumerate(_EDITS.items()):
        state = OrderedDict(
            (entry, other_values(value, 0.125 * (number + 1)) if isinstance(value, torch.Tensor) else value)
            for entry, value in base.items()
        )
        entry = edit(state, last)
        state._metadata = getattr(base, "_metadata", None)  # type: ignore[attr-defined]
        yield name, entry, state


def _reshape(state: OrderedDict[str, Any], entry: str) -> str:
    state[entry] = state[entry].new_zeros(state[entry].numel() + 1)
    return entry


def _retype(state: OrderedDict[str, Any], entry: str) -> str:
    state[entry] = state[entry].to(torch.float32 if state[entry].dtype == torch.float16 else torch.float16)
    return entry


def _drop(state: OrderedDict[str, Any], entry: str) -> str:
    del state[entry]
    return entry


def _add(state: OrderedDict[str, Any], entry: str) -> str:
    state["no_such_entry"] = torch.ones(2)
    return "no_such_entry"


def _rename(state: OrderedDict[str, Any], entry: str) -> str:
    state[f"{entry}_"] = state.pop(entry)
    return entry


def _exchange(state: OrderedDict[str, Any], entry: str) -> str:
    state.clear()
    state["no_such_module.weight"] = torch.ones(2)
    return entry


_EDITS: dict[str, Callable[[OrderedDict[str, Any], str], str]] = {
    "an entry of another shape": _reshape,
    "an entry of another dtype": _retype,
    "an entry missing": _drop,
    "an entry too many": _add,
    "an entry renamed": _rename,
    "the state of another module": _exchange,
}
"""What is done to a state that fits; each gives the entry that the error has to name."""


def other_values(tensor: torch.Tensor, shift: float) -> torch.Tensor:
    """A tensor of the same shape and dtype with other values; integers stay within those that occur."""
    flat = tensor.detach().reshape(-1)
    if tensor.dtype is torch.bool:
        made = ~flat
    elif tensor.is_floating_point() or tensor.is_complex():
        wide = flat.to(torch.complex128 if tensor.is_complex() else torch.float64)
        made = (wide.roll(1) * 0.5 + shift).to(tensor.dtype)
    else:
        made = flat.flip(0) if flat.numel() > 1 else flat + 1
    return made.reshape(tensor.shape)


def offer(load: Load, module: torch.nn.Module, bad: BadFile) -> Refusal:
    """Have a loader load a bad file into `module`, and look at the module before and after."""
    before = state_hashes(module)
    error = ""
    try:
        load(module, bad.path)
        fault = "loaded without an error"
    except Exception as raised:  # whatever a loader raises is what its user sees
        error = " ".join(f"{type(raised).__name__}: {raised}".split())
        clear = any(word in error for word in bad.words)
        fault = "" if clear else f"the error names neither the file nor the entry: {error[:120]!r}"
    after = state_hashes(module)
    changed = [name for name in before if before[name] != after.get(name)]
    if changed:
        kept = f"{len(changed)} of {len(before)} tensors of the module changed: {', '.join(changed[:3])}"
        fault = f"{fault or f'raised {error[:80]!r}'}, and {kept}"
    return Refusal(name=bad.name, fault=fault, error=error)
