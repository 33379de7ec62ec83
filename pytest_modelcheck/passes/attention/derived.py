"""Constants computed from other constants, once each: layers that share a weight share what is made of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.rewriting.rewriter import Rewriter, Scope
from pytest_modelcheck.rewriting.shared_constants import is_in_a_graph


class DerivedConstants:
    """Makes each derived constant of one pass run once per scope.

    ALBERT's layers all read the same weights: twelve packed copies would be nine times the file.
    """

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._made: dict[tuple[Scope, Hashable], ir.Value] = {}

    def get(self, scope: Scope, key: Hashable, make: Callable[[], np.ndarray[Any, Any]], hint: str) -> ir.Value:
        """The constant for `key`, which names its source values (the `ir.Value` objects) and what is done to them."""
        value = self._made.get((scope, key))
        if value is None or not is_in_a_graph(value):  # none was made, or it has died with its last reader
            value = self._made[scope, key] = self._rewriter.constant_value(scope, make(), hint)
        return value
