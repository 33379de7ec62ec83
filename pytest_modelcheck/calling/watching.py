"""Watching a module run, operator by operator."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

_COMPILER = "torch._dynamo"


class WatchingMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """A dispatch mode that does not load torch's compiler.

    torch guards ``__torch_dispatch__`` so that nothing in it is compiled, and imports the compiler for that at the
    first operator: a third of the processor time of a check that compiles nothing. Here the guard is put on when
    somebody imports the compiler (`torch.cond` does, while a mode watches it).
    """

    guarded: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)  # type: ignore[no-untyped-call]  # as above
        plain = getattr(cls.__torch_dispatch__, "__wrapped__", None)
        if _COMPILER not in sys.modules and plain is not None:
            cls.guarded = cls.__torch_dispatch__
            _unguarded.add(cls)
            cls.__torch_dispatch__ = plain  # type: ignore[method-assign]  # as torch assigns the guarded one


_unguarded: weakref.WeakSet[type[WatchingMode]] = weakref.WeakSet()


class _Guarding:
    """A finder that finds nothing: it is asked when the compiler is about to be imported."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == _COMPILER:
            sys.meta_path.remove(self)
            for mode in _unguarded:
                mode.__torch_dispatch__ = mode.guarded  # type: ignore[method-assign]  # as above


if _COMPILER not in sys.modules:
    sys.meta_path.insert(0, _Guarding())
