"""Whether a difference is what rounding does to this model anyway: a cast to half precision, a difference of large
numbers or a sort by nearly equal keys make much of one unit in the last place.

Rounding is asked about by an experiment: every floating-point input and weight, and what is ordered inside, is moved by
one unit in the last place, up or down at random, and the graph runs again. Where that moves each output about as much
as the two sides differ, at the same elements, neither an exporter, nor a pass, nor a runtime is at fault.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.accuracy.inner_values import shares_of_tolerance
from pytest_modelcheck.accuracy.magnitude import magnitudes
from pytest_modelcheck.accuracy.metrics import Array, is_float
from pytest_modelcheck.accuracy.output import OutputStatus
from pytest_modelcheck.accuracy.places import node_place
from pytest_modelcheck.accuracy.stages import Inputs, Stage, session_stage, within
from pytest_modelcheck.accuracy.sweep_report import PairReport
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.accuracy.variants import rounded
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.result import first_lines
from pytest_modelcheck.runtimes import How

ROUNDINGS = 3
"""How many roundings are tried before a graph without steps is given up: one alone may move the outputs little."""

MOST_ROUNDINGS = 32
"""How many are tried at most. In a graph with a cast to half precision or an order a rounding does nothing or much: an
element becomes another half only near the middle of two (in a BERT of two layers by one of 32 roundings, not by the
first three), and of equal scores (RT-DETR has 5 among its first 12) each order gives other boxes."""

ALIKE = 0.5
"""A rounding explains a difference that is at most twice what it moves that output by, ..."""

EACH = 0.1
"""... and of no element more than ten times what it moves that element by: rounding does not explain a fault in
one element, however much the others move."""

LARGEST = 1000.0
"""In tolerances: a larger difference is asked about only where the graph selects, by an order or a threshold."""

ORDERING = {"TopK": 0, "ArgMax": 0, "ArgMin": 0, "NonMaxSuppression": 1}
"""Operators that order values -> their input."""

SELECTING = {*ORDERING, "NonZero", "Round", "Floor", "Ceil"}

SHOWN = 3

Shares = Mapping[str, Array]
"""Output -> what each element differs by, in tolerances."""

MAGNIFIED = (
    "No exporter, pass or runtime is at fault: the model makes this much of any rounding. Widen the tolerance (atol=, "
    "rtol=, or a metric by output), or find what magnifies: a cast to half precision, a difference of large numbers, "
    "an order of nearly equal values."
)


@dataclass(frozen=True, slots=True)
class Magnified:
    """A pair whose differences are those of rounding.

    Attributes:
        excused: Whether few enough seeds are concerned that the others decide.
        line: What was measured at the worst seed.
        places: Nodes that lower the precision, first ones.
    """

    excused: bool
    line: str
    places: tuple[str, ...]


def magnified(
    pair: PairReport,
    graph: ir.Model,
    stages: Mapping[str, Stage],
    inputs: Callable[[int], Inputs],
    tolerances: Tolerances,
    how: How,
) -> Magnified | None:
    """Whether every failing seed of a pair differs by no more than a rounding explains; None where one differs by more.

    Args:
        pair: A pair that failed.
        graph: The graph of its candidate.
        stages: All stages by name.
        inputs: seed -> what that seed ran.
        tolerances: How closely the outputs must agree.
        how: How the graph is run as it is written.
    """
    failed = [result for result in pair.seeds if not result.passed]
    if pair.worst is None or pair.worst_seed is None or not _is_a_matter_of_degree(pair):
        return None
    excused = 2 * len(failed) < len(pair.seeds)
    seeds = [pair.worst_seed, *(result.seed for result in failed if result.seed != pair.worst_seed)]
    line = ""
    for seed in seeds if excused else seeds[:1]:
        given = inputs(seed)
        limits = within(tolerances, given)
        left, right = (_run(stages[name], given) for name in (pair.reference, pair.candidate))
        differences = _shares(left, right, limits)
        if _largest(differences) > LARGEST and not _has_steps(graph):
            return None
        moved = _moved_by_rounding(graph, given, limits, how, differences)
        if moved is None:
            return None
        line = line or (
            f"seed {seed}: differs by {_largest(differences):.3g} tolerances; inputs and weights moved by one unit in "
            f"the last place move {pair.candidate} by {_largest(moved):.3g}"
        )
    return Magnified(excused, line, first_lines(_narrowing(graph), SHOWN, "casts"))


def _is_a_matter_of_degree(pair: PairReport) -> bool:
    assert pair.worst is not None
    return {output.status for output in pair.worst.outputs if output.status.failed} == {OutputStatus.OVER_TOLERANCE}


def _moved_by_rounding(
    graph: ir.Model, inputs: Inputs, tolerances: Tolerances, how: How, differences: Shares
) -> Shares | None:
    """By how much roundings move each element, the largest of those tried; None if they explain too little."""
    base = _run(session_stage("rounded", graph, how=how), inputs)
    moved = {name: np.zeros(array.shape) for name, array in differences.items()}
    for seed in range(MOST_ROUNDINGS):
        stage = session_stage("rounded", rounded_graph(graph, seed), how=how)
        shares = _shares(base, _run(stage, rounded(inputs, seed)), tolerances)
        for name, array in shares.items():  # another number of rows explains another number of rows, and no value
            if name in moved and moved[name].shape == array.shape:
                moved[name] = np.maximum(moved[name], array)
        if all(_explains(moved[name], array) for name, array in differences.items()):
            return moved
        if seed + 1 >= ROUNDINGS and not _has_steps(graph) and _largest(moved) < ALIKE * _largest(differences):
            return None
    return None


def _explains(moved: Array, difference: Array) -> bool:
    """Whether what roundings move one output by is as much as it differs by, on the whole and at each element."""
    over = difference > 1
    if not over.any():
        return True
    return bool(moved.max() >= ALIKE * difference.max() and (moved[over] >= EACH * difference[over]).all())


def rounded_graph(graph: ir.Model, seed: int) -> ir.Model:
    """A copy whose floating-point initializers, and what nodes order by, are moved by one unit in the last place."""
    generator = np.random.default_rng(seed)
    copy = graph.clone()
    infer_shapes(copy)
    for node in [node for node in copy.graph if node.op_type in ORDERING and not node.domain]:
        _round_what_is_ordered(copy.graph, node, seed)
    for value in copy.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            array = tensor.numpy()
            up = generator.integers(0, 2, array.shape, dtype=bool)
            infinity = array.dtype.type(np.inf)
            moved = np.nextafter(array, np.where(up, infinity, -infinity))
            whole = np.trunc(array) == array  # exact by design: the 1 of (1 - mask), and masks; so are infinities
            moved = np.where(whole | np.isnan(array), array, moved)
            value.const_value = ir.tensor(moved.astype(array.dtype), name=value.name)
    return copy


def _round_what_is_ordered(graph: ir.Graph, node: ir.Node, seed: int) -> None:
    """Equal values are in no order: torch and runtimes take any of them first."""
    place = ORDERING[node.op_type]
    value = node.inputs[place] if place < len(node.inputs) else None
    if value is None or value.dtype is not ir.DataType.FLOAT:
        return
    unit = 2 * float(np.finfo(np.float32).eps)
    limits = {"low": 1 - unit, "high": 1 + unit, "seed": float(seed + 1)}
    factors = ir.node("RandomUniformLike", [value], limits)
    product = ir.node("Mul", [value, factors.outputs[0]])
    graph.insert_before(node, [factors, product])
    node.replace_input_with(place, product.outputs[0])


def _shares(left: Mapping[str, Array], right: Mapping[str, Array], tolerances: Tolerances) -> Shares:
    """Output -> the difference of each element in tolerances; one infinity where the shapes differ."""
    left, right = tolerances.masked(left), tolerances.masked(right)
    return {
        name: _shares_of(array, right[name], tolerances, name) if right[name].shape == array.shape else np.array(np.inf)
        for name, array in left.items()
        if name in right
    }


def _shares_of(reference: Array, candidate: Array, tolerances: Tolerances, output: str) -> Array:
    if not is_float(reference):
        return np.where(reference == candidate, 0.0, np.inf)
    tolerance = tolerances.of(output, reference.dtype)
    fitted = tolerance.fitted(magnitudes(reference, tolerance).largest)
    return shares_of_tolerance(reference, candidate, fitted)


def _largest(shares: Shares) -> float:
    return max((float(array.max(initial=0.0)) for array in shares.values()), default=0.0)


def _run(stage: Stage, inputs: Inputs) -> Mapping[str, Array]:
    with stage.open() as run:
        return run(inputs)


def _has_steps(graph: ir.Model) -> bool:
    return bool(_narrowing(graph)) or any(node.op_type in SELECTING for node in all_nodes(graph))


def _narrowing(graph: ir.Model) -> Sequence[str]:
    half = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    casts = [node for node in all_nodes(graph) if node.op_type == "Cast" and node.attributes["to"].as_int() in half]
    return [f"lowers the precision: {node_place(node)}" for node in casts]


def without(pair: PairReport) -> PairReport:
    """The pair as passed: what its failing seeds differ by is rounding."""
    return dataclasses.replace(
        pair, finding=None, seeds=tuple(dataclasses.replace(result, passed=True) for result in pair.seeds)
    )
