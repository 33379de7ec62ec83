"""Constants computed from other constants, once each: layers that share a weight share what is made of it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.rewriting import Rewriter, Scope
from pytest_modelcheck.rewriting.matching import produced_by, weight_source
from pytest_modelcheck.rewriting.shared_constants import is_in_a_graph

Array = np.ndarray[Any, Any]
Key = tuple[Hashable, ...]
"""What is done, and the `ir.Value` objects to which it is done."""

_made: dict[Key, tuple[tuple[weakref.ref[Any], ...], weakref.ref[Array]]] = {}
"""What was computed, and from what, for as long as both are held somewhere else."""


def computed_once(key: Key, make: Callable[[], Array]) -> Array:
    """What `make` gives, computed once for all copies of a model.

    An attribution runs the pipeline a dozen times over copies that share their weights: scaling and packing the
    projections of BERT-base took half of its time.
    """
    sources = [_content(part) for part in key if isinstance(part, ir.Value)]
    plain = tuple(_plain(part) for part in key)
    refs, kept = _made.get(plain, ((), None))
    array = None if kept is None else kept()
    if array is None or len(refs) != len(sources) or any(r() is not s for r, s in zip(refs, sources, strict=True)):
        array = make()
        forget = weakref.ref(array, lambda _: _made.pop(plain, None))
        _made[plain] = (tuple(map(weakref.ref, sources)), forget)
    return array


def _plain(part: Hashable) -> Hashable:
    if not isinstance(part, ir.Value):
        return part
    turned = produced_by(part, "Transpose")
    return id(_content(part)), None if turned is None else integers_attribute(turned, "perm")


def _content(value: ir.Value) -> Any:
    """The object that copies of a model share: the array of a tensor that has one."""
    tensor = weight_source(value)
    raw = tensor.raw if isinstance(tensor, ir.Tensor) else None
    return raw if isinstance(raw, np.ndarray) else tensor


class DerivedConstants:
    """Makes each derived constant of one pass run once per scope.

    ALBERT's layers all read the same weights: twelve packed copies would be nine times the file.
    """

    def __init__(self, rewriter: Rewriter) -> None:
        self._rewriter = rewriter
        self._made: dict[tuple[Scope, Hashable], ir.Value] = {}

    def get(self, scope: Scope, key: Key, make: Callable[[], Array], hint: str) -> ir.Value:
        """The constant for `key`, a value in `scope`."""
        value = self._made.get((scope, key))
        if value is None or not is_in_a_graph(value):  # none was made, or it has died with its last reader
            value = self._made[scope, key] = self._rewriter.constant_value(scope, computed_once(key, make), hint)
        return value
