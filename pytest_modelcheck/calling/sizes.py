"""`inputs(seed, sizes)`: a case that draws its inputs at the sizes that a check asks for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase

Sizes = Mapping[str, int]
"""Dimension name -> size; what is not in it is the author's choice."""


def offers_sizes(case: ModelCase) -> bool:
    """Whether ``inputs`` takes a parameter ``sizes`` beside the seed.

    >>> offers_sizes(ModelCase("net", build, lambda seed, sizes: {"x": torch.rand(sizes.get("batch", 2), 8)}))
    True
    """
    try:
        parameters = inspect.signature(case.inputs).parameters if case.inputs is not None else {}
    except (TypeError, ValueError):  # a callable without a signature
        return False
    return "sizes" in parameters


def draw(case: ModelCase, seed: int, sizes: Sizes | None = None) -> Any:
    """What ``inputs`` gives, whatever it is."""
    assert case.inputs is not None
    if not offers_sizes(case):
        return case.inputs(seed)
    asked = dict(sizes or {})
    return case.inputs(seed, sizes=asked)  # type: ignore[call-arg]  # asked by offers_sizes


def check_sizes(found: Mapping[str, int], asked: Sizes) -> None:
    """Check that drawn inputs have the sizes that were asked for.

    Raises:
        ModelCaseError: naming the dimension and both sizes.
    """
    for name, size in asked.items():
        if name in found and found[name] != size:
            raise ModelCaseError(f"inputs(seed, sizes) gives {name} {found[name]} where sizes[{name!r}] is {size}")
