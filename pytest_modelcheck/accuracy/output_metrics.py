"""What a marker can ask of one output in place of a tolerance: ``"cosine >= 0.999"``, ``"my_module:iou >= 0.9"``.

| name | figure | arrays |
|---|---|---|
| ``cosine`` | cosine of the two flattened outputs, -1..1 | equal shapes |
| ``top1`` | share of rows (last axis) with the largest element at the same place, 0..1 or % | equal shapes |
| ``match`` | share of elements within the tolerance; equal ones for integers, 0..1 or % | equal shapes |
| ``rows`` | share of rows (first axis) with one within the tolerance, in any order, 0..1 or % | equal rows |
| ``module:function`` | what it returns for (reference, candidate): a number, or True and False without a bound | any |
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pytest_modelcheck.accuracy.magnitude import allowed, wide
from pytest_modelcheck.accuracy.metrics import Array, is_float, measure, top1_agreement
from pytest_modelcheck.accuracy.tolerance import Tolerance
from pytest_modelcheck.bounds import Bound, Domain, parse_bound
from pytest_modelcheck.errors import BoundError, OptionError

Figure = Callable[[Array, Array, Tolerance | None], Any]

_PARTS = re.compile(r"\s*(?P<name>[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?)\s*(?P<bound>[<>=].*)?")
_SHARE = Domain(low=0, high=1, percent_low=0, percent_high=100)


def _cosine(reference: Array, candidate: Array, tolerance: Tolerance | None) -> float:
    return measure(reference, candidate).cosine


def _top1(reference: Array, candidate: Array, tolerance: Tolerance | None) -> float:
    return top1_agreement(reference, candidate)


def _match(reference: Array, candidate: Array, tolerance: Tolerance | None) -> float:
    return float(np.count_nonzero(_near(reference, candidate, _limits(reference, tolerance)))) / reference.size


def _rows(reference: Array, candidate: Array, tolerance: Tolerance | None) -> float:
    if reference.shape[1:] != candidate.shape[1:] or not reference.ndim:
        return 0.0
    limits = np.broadcast_to(_limits(reference, tolerance), reference.shape)
    free, matched = np.ones(len(candidate), dtype=bool), 0
    for row, limit in zip(reference, limits, strict=True):
        near = _near(row[None], candidate, limit[None]).reshape(len(candidate), -1).all(1) & free
        if near.any():
            free[int(near.argmax())] = False
            matched += 1
    return matched / max(len(reference), len(candidate))


def _limits(reference: Array, tolerance: Tolerance | None) -> Array:
    return np.zeros(()) if tolerance is None or not is_float(reference) else np.asarray(allowed(reference, tolerance))


def _near(reference: Array, candidate: Array, limits: Array) -> Array:
    if not is_float(reference):
        return np.asarray(reference == candidate)
    with np.errstate(invalid="ignore"):
        return np.asarray((reference == candidate) | (np.abs(wide(candidate) - wide(reference)) <= limits))


_FIGURES: dict[str, tuple[Figure, Domain]] = {
    "cosine": (_cosine, Domain(low=-1, high=1)),
    "top1": (_top1, _SHARE),
    "match": (_match, _SHARE),
    "rows": (_rows, _SHARE),
}


@dataclass(frozen=True, slots=True)
class OutputMetric:
    """A metric and its bound; without a bound a user's function decides by True or False.

    Attributes:
        text: As its author wrote it.
        figure: (reference, candidate, tolerance) -> the figure.
        any_shape: Whether the two arrays may differ in shape.
    """

    text: str
    name: str
    bound: Bound | None
    figure: Figure
    any_shape: bool

    def failure(self, output: str, reference: Array, candidate: Array, tolerance: Tolerance | None) -> str:
        """What was measured where it misses the bound; empty where it holds.

        Raises:
            OptionError: if a user's function raises, or returns something that cannot be judged.
        """
        try:
            value = self.figure(reference, candidate, tolerance)
        except Exception as error:  # a user's code
            raise OptionError(
                f"metric {self.text!r} of output {output!r} raised {type(error).__name__}: {error}"
            ) from error
        if self.bound is None:
            if not isinstance(value, bool | np.bool_):
                kind = type(value).__name__
                raise OptionError(
                    f"metric {self.text!r} of output {output!r} returned a {kind}, not True or False; "
                    f"compare it with a number: {self.text + ' >= 0.9'!r}"
                )
            return "" if value else f"{self.name} is False"
        shown = float(value) * (100 if self.bound.percent else 1)
        unit = " %" if self.bound.percent else ""
        return "" if self.bound.holds(shown) else f"{self.name} {shown:.6g}{unit}, expected {self.bound}"


@lru_cache(maxsize=64)
def read_metric(text: str) -> OutputMetric:
    """Read a metric, e.g. ``read_metric("match >= 99 %")``.

    Raises:
        OptionError: if it cannot be read, is not known, always or never holds, or its function cannot be imported.
    """
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise OptionError(
            f"metric {text!r} cannot be read: write 'cosine >= 0.999', 'match >= 99 %' or 'module:function'"
        )
    name, bound = parts["name"], parts["bound"]
    if ":" in name:
        function = _imported(text, name)
        limit = None if bound is None else _bound(text, bound, Domain())
        return OutputMetric(text, name, limit, lambda r, c, _: function(r, c), any_shape=True)
    if name not in _FIGURES:
        known = ", ".join(_FIGURES)
        raise OptionError(f"metric {name!r} is unknown; choose one of {known}, or name a function: 'module:function'")
    if bound is None:
        raise OptionError(f"metric {text!r} has no bound: write {name + ' >= 0.99'!r}")
    figure, domain = _FIGURES[name]
    return OutputMetric(text, name, _bound(text, bound, domain), figure, any_shape=name == "rows")


def _bound(text: str, bound: str, domain: Domain) -> Bound:
    try:
        return parse_bound(bound, domain)
    except BoundError as error:
        raise OptionError(f"metric {text!r}: {error}") from None


def _imported(text: str, name: str) -> Callable[[Array, Array], Any]:
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a module of the user's, which may raise anything while it is imported
        raise OptionError(f"metric {text!r}: cannot import {name}: {type(error).__name__}: {error}") from None
    if not callable(function):
        raise OptionError(f"metric {text!r}: {name} is a {type(function).__name__}, not a function")
    return function  # type: ignore[no-any-return]
