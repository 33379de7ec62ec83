"""The first node whose result differs while what it reads agrees.

The search goes backwards from an output that differs. Each round looks at some values, spread evenly over what could
still be to blame: the ancestors of the earliest difference that no agreeing value hides. The next round looks between
that one and the last agreement before it. So a graph of a thousand nodes takes three or four rounds, and only a
round's values are in memory at a time.

Agreement is a matter of degree: values that differ by less than the tolerance agree at first, but where an input of
the node that was found differs by more than a tenth of what its output does, and by more than a tenth of the tolerance
(below that lies rounding), the difference came from there, and the search goes on behind that input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.guilty_pass import UnusableReferenceError
from pytest_modelcheck.accuracy.inner_values import in_tolerances, largest_difference, merges_into
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.output import OutputComparison, OutputStatus
from pytest_modelcheck.accuracy.places import node_place, read_by
from pytest_modelcheck.accuracy.probe import GraphProbe, ModuleProbe, Probe
from pytest_modelcheck.accuracy.stages import Inputs, to_numpy
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, EXACT, Tolerances
from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.graph.counts import is_constant
from pytest_modelcheck.hierarchy import HierarchyReport
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import AS_WRITTEN, How

LOOK_AT = 64
"""Values per round."""

JUMP = 10.0
"""A node is to blame if its output differs at least this many times as much as any of its inputs."""

ROUNDING = 0.1
"""In units of the tolerance: smaller differences are not followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where a candidate begins to differ.

    Attributes:
        value: Name of the first value that differs.
        nodes: Places of the nodes to blame, in execution order, the one that makes `value` last: one node, or the
            stretch of nodes between agreement and difference that the reference has no counterpart for.
        comparison: The value in the reference against the candidate.
        agreeing: Names of the values that this stretch reads and that agree.
        initializers: Names of the initializers it reads whose content differs between the two graphs.
        rounds, looked: How many runs it took, and how many values were looked at.
        looking_changed: What the candidate's own outputs differ by while they are looked at; 0.0 if looking changed
            nothing. Only onnxruntime's optimizer sees a graph differently because more of its values are outputs.
    """

    value: str
    nodes: tuple[str, ...]
    comparison: OutputComparison
    agreeing: tuple[str, ...]
    initializers: tuple[str, ...]
    rounds: int
    looked: int
    looking_changed: float

    def describe(self) -> tuple[str, ...]:
        """Lines for a finding's `where`."""
        lines = [f"first difference at {self.nodes[-1]}: {self.comparison.detail}"]
        if len(self.nodes) > 1:
            shown = "; ".join(self.nodes[-6:-1])
            before = f"{len(self.nodes) - 1} nodes" if len(self.nodes) > 2 else "node"
            lines.append(f"or in the {before} before it that the reference does not have: {shown}")
        if self.initializers:
            lines.append(f"initializers that differ: {', '.join(self.initializers)}")
        if self.looking_changed:
            lines.append(f"looking at values inside changed the graph's own outputs by {self.looking_changed:.3g}")
        return tuple(lines)


def find_first_divergence(
    reference: ir.Model | torch.nn.Module,
    candidate: ir.Model,
    inputs: Inputs,
    *,
    case: ModelCase | None = None,
    tolerances: Tolerances = DEFAULTS,
    how: How = AS_WRITTEN,
    reference_how: How | None = None,
) -> Divergence | None:
    """Find where `candidate` begins to differ from `reference`.

    Args:
        reference: Another ONNX graph, run as it is written, whose values are matched by name; or the torch module
            that `candidate` was exported from, whose submodules' results are matched by owner.
        candidate: The graph to explain.
        inputs: One set of inputs, e.g. the worst seed's.
        case: The model case; needed for a torch module.
        tolerances: How closely the outputs must agree.
        how: How the candidate is run.
        reference_how: How a reference graph is run; None for the same way, as it is written.

    Returns:
        The first divergence; None where all outputs agree.

    Raises:
        UnusableReferenceError: if an output of the reference is NaN, or is missing in the candidate.
        SessionError, FeedError: if a graph cannot be run on `inputs`.
    """
    probe: Probe
    if isinstance(reference, torch.nn.Module):
        if case is None or not isinstance(inputs, ModuleInputs):
            raise ModelCaseError("a torch module as reference needs its model case, and inputs from module_inputs")
        probe = ModuleProbe(case, reference, inputs, candidate)
    else:
        probe = GraphProbe(reference, inputs, reference_how or replace(how, optimizer=False))
    graph_probe = GraphProbe(candidate, inputs, how)
    search = _Search(probe, graph_probe, candidate, tolerances)
    start = search.first_differing_output()
    if start is None:
        return None
    found = search.earliest(start)
    return search.divergence(found, _weights(reference), probe.report if isinstance(probe, ModuleProbe) else None)


def _weights(model: ir.Model | torch.nn.Module) -> dict[str, Callable[[], Array]]:
    """Initializers, or parameters and buffers, by name; read when asked for."""
    if isinstance(model, ir.Model):
        values = model.graph.initializers.items()
        return {name: value.const_value.numpy for name, value in values if value.const_value is not None}
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: partial(to_numpy, tensor) for name, tensor in tensors}


class _Search:
    def __init__(self, reference: Probe, candidate: GraphProbe, model: ir.Model, tolerances: Tolerances) -> None:
        self._reference = reference
        self._candidate = candidate
        self._tolerances = tolerances
        self._place = {value: i for i, node in enumerate(model.graph) for value in node.outputs}
        self._values = {value.name: value for value in self._place if value.name}
        self._plain = candidate.outputs()
        self._known: dict[str, float] = {}  # value -> difference, in units of its tolerance
        self._compared: dict[str, OutputComparison] = {}
        self._rounds = 0
        self._looking_changed = 0.0
        self._hopeless = set(self._values) - (reference.names & candidate.names)
        self._fed = _fed_by_inputs(model)
        self._graph_outputs = [value for value in model.graph.outputs if value in self._place]

    def first_differing_output(self) -> ir.Value | None:
        """The earliest output beyond the tolerance."""
        expected = self._reference.outputs()
        comparison = compare_within(expected, self._plain, self._tolerances)
        if comparison.reference_nan:
            raise UnusableReferenceError("the reference gives NaN by itself: see nonfinite_parameters")
        bad = {output.name: output for output in comparison.outputs if output.status.failed}
        comparable = (OutputStatus.OVER_TOLERANCE, OutputStatus.CANDIDATE_NAN, OutputStatus.INFINITE)
        values = [v for v in self._graph_outputs if v.name in bad and bad[v.name].status in comparable]
        if bad and not values:
            listed = "; ".join(f"output {name!r} is {output.status}" for name, output in bad.items())
            raise UnusableReferenceError(f"the outputs cannot be matched: {listed}")
        for value in values:
            assert value.name is not None
            self._compared[value.name] = bad[value.name]
            self._known[value.name] = self._degree(expected[value.name], self._plain[value.name])
        return min(values, key=self._place.__getitem__, default=None)

    def earliest(self, start: ir.Value) -> ir.Value:
        """Go back from `start` to the first value, in the order of the graph, that differs while all it reads agree."""
        suspect = self._origin(start)
        while (beside := self._earlier_beside(start, suspect)) is not None:
            suspect = self._origin(beside)
        return suspect

    def _earlier_beside(self, start: ir.Value, suspect: ir.Value) -> ir.Value | None:
        """A value before `suspect` that differs, too, on another way to `start`: key and value may both be wrong.

        What is made of weights alone is left out: an exporter may put the transposed weights of all layers first.
        """
        while True:
            before = [v for v in self._stretch(start, 1.0)[0] if self._place[v] < self._place[suspect]]
            before = [v for v in before if v in self._fed]
            found = min((v for v in before if self._difference(v) > 1.0), key=self._place.__getitem__, default=None)
            if found is not None or not self._look_among(before):
                return found

    def _origin(self, suspect: ir.Value) -> ir.Value:
        limit = 1.0
        while True:
            suspect = self._earliest_beyond(suspect, limit)
            inputs = [value for value in self._stretch(suspect, limit)[1] if self._difference(value) > 0]
            worst = max(inputs, key=self._difference, default=None)
            if worst is None or self._difference(worst) < max(ROUNDING, self._difference(suspect) / JUMP):
                return suspect
            limit = min(limit, self._difference(worst)) * 0.99
            suspect = worst

    def _earliest_beyond(self, suspect: ir.Value, limit: float) -> ir.Value:
        while True:
            stretch, _ = self._stretch(suspect, limit)
            earlier = min((value for value in stretch if self._difference(value) > limit), key=self._place.__getitem__)
            if earlier is not suspect:
                suspect = earlier
                continue
            if not self._look_among(stretch):
                return suspect

    def _look_among(self, values: Sequence[ir.Value]) -> bool:
        """Look at some of those not seen yet, from the end: what feeds a suspect is among them. False if all are."""
        unseen = [value for value in values if value.name not in self._known and value.name not in self._hopeless]
        if unseen:
            self._look(unseen[::-1][:: math.ceil(len(unseen) / LOOK_AT)])
        return bool(unseen)

    def _stretch(self, suspect: ir.Value, limit: float) -> tuple[list[ir.Value], list[ir.Value]]:
        """The values that may have made `suspect` differ, itself included, in order; and the agreeing ones behind."""
        inside, border, waiting = {suspect}, set(), [suspect]
        while waiting:
            node = waiting.pop().producer()
            for value in [] if node is None else read_by(node):
                if value not in self._place or value in inside:
                    continue
                if value.name in self._known and self._difference(value) <= limit:
                    border.add(value)
                else:
                    inside.add(value)
                    waiting.append(value)
        return sorted(inside, key=self._place.__getitem__), sorted(border, key=self._place.__getitem__)

    def _difference(self, value: ir.Value) -> float:
        return self._known.get(value.name or "", 0.0)

    def _look(self, values: Sequence[ir.Value]) -> None:
        names = [value.name for value in values if value.name]
        self._rounds += 1
        left, right = self._reference.look(names), self._candidate.look(names)
        for name, array in self._plain.items():
            self._looking_changed = max(self._looking_changed, largest_difference(array, right[name]))
        for name in names:
            expected, found = left.get(name), right[name]
            if expected is None or expected.dtype != found.dtype or not merges_into(expected.shape, found.shape):
                self._hopeless.add(name)
                continue
            found = found.reshape(expected.shape)
            self._known[name] = self._degree(expected, found)
            if self._known[name] > 0:
                self._compared[name] = compare_within({name: expected}, {name: found}, EXACT).outputs[0]

    def _degree(self, reference: Array, candidate: Array) -> float:
        return in_tolerances(reference, candidate, self._tolerances.inside)

    def divergence(
        self, value: ir.Value, weights: Mapping[str, Callable[[], Array]], report: HierarchyReport | None
    ) -> Divergence:
        """Put together what is known about the value that was found."""
        limit = min(1.0, max(ROUNDING, self._difference(value) / JUMP))
        inside, border = self._stretch(value, limit)
        nodes = list(dict.fromkeys(node for inner in inside if (node := inner.producer()) is not None))
        read = {v.name: v.const_value for node in nodes for v in read_by(node) if v.name and v.const_value is not None}
        differing = [name for name, tensor in read.items() if _differs(weights.get(name), tensor)]
        assert value.name is not None
        return Divergence(
            value=value.name,
            nodes=tuple(node_place(node, _owner(node, report)) for node in nodes if not is_constant(node)),
            comparison=self._compared[value.name],
            agreeing=tuple(v.name for v in border if v.name),
            initializers=tuple(differing),
            rounds=self._rounds,
            looked=len(self._known),
            looking_changed=self._looking_changed,
        )


def _fed_by_inputs(model: ir.Model) -> set[ir.Value]:
    """The values that depend on a graph input."""
    fed = {value for value in model.graph.inputs if not value.is_initializer()}
    for node in model.graph:
        if not fed.isdisjoint(read_by(node)):
            fed.update(node.outputs)
    return fed


def _owner(node: ir.Node, report: HierarchyReport | None) -> str | None:
    owner = report.owner(node.outputs[0].name or "") if report is not None else None
    return None if owner is None else owner.path


def _differs(read: Callable[[], Array] | None, tensor: ir.TensorProtocol) -> bool:
    """Whether both hold a weight of this shape, with other bytes."""
    if read is None:
        return False
    expected = read()
    if expected.shape != tuple(tensor.shape.numpy()):
        return False
    return expected.tobytes() != tensor.tobytes()
