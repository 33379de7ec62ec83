"""Python functions that the user registers as kernels: torch's dispatcher can name none of them."""

from __future__ import annotations

import sys
from typing import Any

from pytest_modelcheck.recorder.owners import TORCH, is_installed, owner_of

registered: dict[str, Any] = {}
"""Operator and dispatch key -> the function that the user registered there by `torch.library`."""


def wrap_library() -> None:
    """Wrap `torch.library.Library.impl`, once torch has defined it."""
    library = getattr(sys.modules.get("torch.library"), "Library", None)
    if library is None or library.impl.__name__ == "recorded_impl":
        return
    impl = library.impl

    def recorded_impl(self: Any, op_name: Any, fn: Any, dispatch_key: str = "", **options: Any) -> Any:
        owner = owner_of(sys._getframe(1), through=TORCH)
        if owner and not is_installed(owner):
            name = op_name if isinstance(op_name, str) else getattr(op_name, "_qualified_op_name", str(op_name))
            registered[f"{self.ns}::{name.rpartition('::')[2]} {dispatch_key or self.dispatch_key}"] = fn
        return impl(self, op_name, fn, dispatch_key, **options)

    library.impl = recorded_impl
