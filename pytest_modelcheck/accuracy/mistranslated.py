"""An operator that an exporter writes differently: blamed where torch, computing it so, gives the exported numbers."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.stages import EXPORT, Inputs, Stage, within
from pytest_modelcheck.accuracy.sweep_report import PairReport
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.result import Finding

FOUND = "torch gives the exported numbers where as_strided reads a contiguous copy, as the exporter writes it: {}"
NEXT = (
    "forward() calls as_strided on a tensor that is not contiguous; torchscript writes it for a contiguous one. Call "
    ".contiguous() before it and take the strides of the copy, or write it with unfold or slices; a model of a "
    "library may have an option for it."
)


class _Contiguous(TorchFunctionMode):
    """Computes `as_strided` as the torchscript exporter writes it: a Gather from the flattened tensor.

    Attributes:
        places: The lines that call it on a tensor that is not contiguous, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        if func in (torch.Tensor.as_strided, torch.as_strided) and args and not args[0].is_contiguous():
            caller = traceback.extract_stack(limit=2)[0]
            self.places[f"{caller.filename}:{caller.lineno}: {caller.line}"] = None
            args = (args[0].contiguous(), *args[1:])
        return func(*args, **(kwargs or {}))


def mistranslated(
    pair: PairReport, stages: Mapping[str, Stage], inputs: Inputs, tolerances: Tolerances
) -> Finding | None:
    """The pair's finding, where one operator that the exporter writes differently is all that differs; else None."""
    if pair.finding is None or pair.worst is None or pair.step != EXPORT:
        return None
    try:
        with stages[pair.reference].open() as run, _Contiguous() as mode:
            computed = run(inputs)
        if not mode.places:
            return None
        with stages[pair.candidate].open() as run:
            exported = run(inputs)
    except Exception:  # an explanation that cannot be made hides no finding
        return None
    if any(output.status.failed for output in compare_within(computed, exported, within(tolerances, inputs)).outputs):
        return None
    where = (*pair.finding.where, FOUND.format("; ".join(mode.places)))
    return dataclasses.replace(pair.finding, where=where, next=NEXT)
