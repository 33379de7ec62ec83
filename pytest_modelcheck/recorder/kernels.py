"""What torch does out of Python's sight: functions that are registered as kernels, and files that it maps."""

from __future__ import annotations

import sys
from types import FrameType
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
    reads.before(getattr(sys.modules.get("torch.library"), "Library", None), "impl", _note_kernel)
    reads.before(torch, "from_file", reads.note_file)
    reads.before(getattr(torch, "UntypedStorage", None), "from_file", reads.note_file, bound=staticmethod)


def _note_kernel(frame: FrameType, library: Any, op_name: Any, fn: Any, dispatch_key: str = "", **options: Any) -> None:
    owner = owner_of(frame, through=TORCH)
    if owner and not is_installed(owner):
        name = op_name if isinstance(op_name, str) else getattr(op_name, "_qualified_op_name", str(op_name))
        registered[f"{library.ns}::{name.rpartition('::')[2]} {dispatch_key or library.dispatch_key}"] = fn
