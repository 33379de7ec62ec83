"""What torch does out of Python's sight: functions that are registered as kernels, and files that it maps."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from pytest_modelcheck.recorder import reads
from pytest_modelcheck.recorder.owners import TORCH, is_installed, owner_of

registered: dict[str, Any] = {}
"""Operator and dispatch key -> the function that the user registered there by `torch.library`."""


def wrap_torch() -> None:
    """Wrap what is recorded, once torch is imported: while it is, it adds docstrings to its own functions."""
    torch = sys.modules.get("torch")
    if torch is None or getattr(torch.__spec__, "_initializing", False):
        return
    _wrap(getattr(sys.modules.get("torch.library"), "Library", None), "impl", _recorded_impl)
    _wrap(torch, "from_file", _recorded_file)
    _wrap(getattr(torch, "UntypedStorage", None), "from_file", lambda real: staticmethod(_recorded_file(real)))


def _wrap(place: Any, name: str, wrapped: Callable[[Any], Any]) -> None:
    real = getattr(place, name, None)
    if real is not None and not hasattr(real, "recorded_by"):
        setattr(place, name, wrapped(real))


def _recorded_file(real: Any) -> Any:
    @functools.wraps(real)
    def from_file(filename: Any, *args: Any, **options: Any) -> Any:
        reads.note_file(filename, sys._getframe(1))
        return real(filename, *args, **options)

    from_file.recorded_by = __name__  # type: ignore[attr-defined]  # so that it is wrapped once
    return from_file


def _recorded_impl(impl: Any) -> Any:
    def recorded_impl(self: Any, op_name: Any, fn: Any, dispatch_key: str = "", **options: Any) -> Any:
        owner = owner_of(sys._getframe(1), through=TORCH)
        if owner and not is_installed(owner):
            name = op_name if isinstance(op_name, str) else getattr(op_name, "_qualified_op_name", str(op_name))
            registered[f"{self.ns}::{name.rpartition('::')[2]} {dispatch_key or self.dispatch_key}"] = fn
        return impl(self, op_name, fn, dispatch_key, **options)

    recorded_impl.recorded_by = __name__  # type: ignore[attr-defined]  # so that it is wrapped once
    return recorded_impl
