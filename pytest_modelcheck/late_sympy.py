"""onnx_ir without sympy until a name of a dimension is computed with, which nothing here does.

onnx_ir 1.1 imports sympy, more than half of what its own import takes (0.4 of 0.7 s, 33 MB), for arithmetic of
`ir.SymbolicDim` alone. Importing this module first imports onnx_ir with stand-ins, which no other module gets to see;
the first arithmetic loads what they stand for.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

_PUT_OFF = ("sympy", "onnx_ir._symbolic_shapes")
"""The second one takes functions out of the first when it is imported."""


class _StandIn(types.ModuleType):
    """A module that is imported when something is read from it."""

    def __getattr__(self, name: str) -> Any:
        _take_back(self)
        module = importlib.import_module(self.__name__)
        self.__dict__.update(vars(module))
        return getattr(module, name)


def _take_back(stand_in: _StandIn) -> None:
    if sys.modules.get(stand_in.__name__) is stand_in:
        del sys.modules[stand_in.__name__]


def _import_onnx_ir() -> None:
    if "onnx_ir" in sys.modules:
        return
    stand_ins = [_StandIn(name) for name in _PUT_OFF if name not in sys.modules]
    sys.modules.update((stand_in.__name__, stand_in) for stand_in in stand_ins)
    try:
        importlib.import_module("onnx_ir")
    finally:
        for stand_in in stand_ins:
            _take_back(stand_in)


_import_onnx_ir()
