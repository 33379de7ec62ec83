"""Building the module of a case, and leaving it as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pytest_modelcheck.calling.seeding import seeded
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import BUILD_SEED, ModelCase
from pytest_modelcheck.recorder.windows import window


def build_module(case: ModelCase, *, seed: int = BUILD_SEED) -> torch.nn.Module:
    """Build the module of `case` under the fixed seed, in eval mode.

    The global random state of torch is left as it was found. Another `seed` gives other initial weights.

    Raises:
        ModelCaseError: if there is nothing to build, `build` raises, or it returns no module.
    """
    if case.build is None:
        raise ModelCaseError(f"{case.name}: is an .onnx file and has no torch module")
    with seeded(seed), window(case.build, repeatable=False):
        try:
            module = case.build()
        except (Exception, SystemExit) as error:
            raise ModelCaseError(f"{case.name}: build() raised {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelCaseError(f"{case.name}: build() returned {type(module).__name__}, not a torch.nn.Module")
    return module.eval()


@contextlib.contextmanager
def eval_mode(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """`module` with every submodule in eval mode; each gets its own mode back."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        yield module
    finally:
        for submodule, training in modes.items():
            submodule.training = training


@contextlib.contextmanager
def unchanged_buffers(module: torch.nn.Module) -> Iterator[None]:
    """Give every buffer of `module` its content back at the end: a forward may count its calls or keep a state."""
    saved = [
        (owner, name, buffer, buffer.detach().clone())
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None and not torch.nn.parameter.is_lazy(buffer) and buffer.layout is torch.strided
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, content in saved:
                owner._buffers[name] = buffer
                if not buffer.is_meta and not torch.equal(buffer, content):
                    buffer.copy_(content)


def weight_bytes(module: torch.nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones counted once; of a sparse tensor those of its dense form."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))
