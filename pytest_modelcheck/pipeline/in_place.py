"""The pipeline without its records: on one graph, which is checked once, at the end.

What each pass did is nobody's question here, so no copy is kept of the graph before it, nothing is compared, and shapes
are inferred only of what was edited. Where anything goes wrong the answer is None: `run_pipeline`, which
checks after every pass, then says which one it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from pytest_modelcheck.graph.compare import interface
from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.graph.gc_pause import GarbagePaused
from pytest_modelcheck.graph.snapshot import Snapshot
from pytest_modelcheck.graph.validity import check_model
from pytest_modelcheck.passes import Pass, Target
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline.prepare import prepare_in_place
from pytest_modelcheck.result import Refused
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes


def run_in_place(model: ir.Model, passes: Sequence[Pass], target: Target) -> dict[str, tuple[Refused, ...]] | None:
    """Run passes in order on `model`, a valid one, in place.

    Returns:
        Pass -> what it refused; None where a pass failed or the result is not valid: `model` is of no use then.
    """
    try:
        with GarbagePaused():
            prepare_in_place(model)
            before = interface(model)
            refusals = run_passes(model, passes, target)
            compared = 3 if any(pass_.changes_shapes for pass_ in passes) else 4
            if [row[:compared] for row in interface(model)] != [row[:compared] for row in before]:
                return None
            check_model(model)
    except Exception:  # whatever it is, the run that checks every pass finds and names it
        return None
    return refusals


def count_after(model: ir.Model, passes: Sequence[Pass], target: Target) -> int | None:
    """How many nodes `passes` leave of a prepared model, which is as before in the end; None as of `run_in_place`."""
    snapshot = Snapshot(model)
    try:
        with GarbagePaused():
            run_passes(model, passes, target)
            check_model(model)
        return count_nodes(model)
    except Exception:  # as above
        return None
    finally:
        snapshot.restore()


def run_passes(model: ir.Model, passes: Sequence[Pass], target: Target) -> dict[str, tuple[Refused, ...]]:
    """Run passes in order on a prepared model, in place; nothing is checked."""
    refusals: dict[str, tuple[Refused, ...]] = {}
    idle: set[Pass] = set()
    shapes = SymbolicShapes(model)
    for pass_ in passes:
        shapes.infer()
        run = pass_.knowing(idle) if isinstance(pass_, Settle) else pass_
        outcome = dataclasses.replace(run, target=target).run(model, shapes)
        refusals[pass_.name] = outcome.refusals
        if outcome.modified:
            idle.clear()
        else:
            idle.add(pass_)
    return refusals
