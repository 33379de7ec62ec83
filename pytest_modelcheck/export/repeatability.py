"""Whether an export can be repeated: the same case twice gives the same canonical graph."""

from __future__ import annotations

import dataclasses

from pytest_modelcheck.export.exported import Exported
from pytest_modelcheck.export.to_onnx import export
from pytest_modelcheck.graph.compare import first_difference
from pytest_modelcheck.model_case import Exporter, ModelCase
from pytest_modelcheck.result import Finding, Verdict


def check_repeatable(case: ModelCase, *, exporter: Exporter | None = None) -> Finding | None:
    """Export `case` twice, past any cache and each time from a module of its own, and compare the two graphs.

    Compared are the nodes in their order, their connections, attributes and constants bit by bit, and the names of
    inputs and outputs; names inside the graph and metadata are the exporter's own and do not count.

    Args:
        case: Not one that is only an .onnx file: nothing would be repeated.
        exporter: Instead of the case's own.

    Returns:
        What differs first; an error where there is no export to compare; None where both graphs are the same.

    Raises:
        ValueError: for a case that is an .onnx file.
    """
    if case.onnx_path is not None:
        raise ValueError(f"{case.name} is an .onnx file: there is no export to repeat")
    if exporter is not None:
        case = dataclasses.replace(case, exporter=exporter)
    models = []
    for _ in range(2):
        made = export(case)
        if not isinstance(made, Exported):
            return _finding(case, f"{made.kind}: {made.reason}", Verdict.ERROR, made.next)
        models.append(made.model)
    difference = first_difference(*models)
    next_step = (
        "Something outside of the seed reaches the graph: a counter, the clock, a random generator of its own, the "
        "order of a set. Snapshots of this model would change by themselves."
    )
    return _finding(case, difference, Verdict.FAIL, next_step) if difference else None


def _finding(case: ModelCase, found: str, verdict: Verdict, next_step: str) -> Finding:
    return Finding(
        gate="export",
        model=case.name,
        subject="graph",
        expected="the same one from two exports",
        found=found,
        context=case.exporter,
        next=next_step,
        verdict=verdict,
    )
