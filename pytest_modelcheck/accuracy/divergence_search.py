"""The search for the first value that differs while what it reads agrees.

It goes backwards from an output that differs. Each round looks at some values, spread evenly over what could still be
to blame: the ancestors of the earliest difference that no agreeing value hides. The next round looks between that one
and the last agreement before it. So a graph of a thousand nodes takes three or four rounds, and only a round's values
are in memory at a time.

Agreement is a matter of degree: values that differ by less than the tolerance agree at first, but where an input of
the node that was found differs by more than a tenth of what its output does, and by more than a tenth of the tolerance
(below that lies rounding), the difference came from there, and the search goes on behind that input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.guilty_pass import UnusableReferenceError
from pytest_modelcheck.accuracy.inner_values import in_tolerances, largest_difference, merges_into
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.output import OutputComparison, OutputStatus
from pytest_modelcheck.accuracy.places import read_by
from pytest_modelcheck.accuracy.probe import GraphProbe, Probe
from pytest_modelcheck.accuracy.tolerance import EXACT, Tolerances

LOOK_AT = 64
"""Values per round."""

JUMP = 10.0
"""A node is to blame if its output differs at least this many times as much as any of its inputs."""

ROUNDING = 0.1
"""In units of the tolerance: smaller differences are not followed."""


class Search:
    """One search in `candidate`, whose values are compared with those that `reference` has.

    Attributes:
        compared: Value -> how it differs, of those looked at that do.
        rounds, looking_changed: As in `Divergence`.
    """

    def __init__(self, reference: Probe, candidate: GraphProbe, model: ir.Model, tolerances: Tolerances) -> None:
        self._reference = reference
        self._candidate = candidate
        self._tolerances = tolerances
        self._place = {value: i for i, node in enumerate(model.graph) for value in node.outputs}
        self._values = {value.name: value for value in self._place if value.name}
        self._plain = candidate.outputs()
        self._known: dict[str, float] = {}  # value -> difference, in units of its tolerance
        self.compared: dict[str, OutputComparison] = {}
        self.rounds = 0
        self.looking_changed = 0.0
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
            self.compared[value.name] = bad[value.name]
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
            before = [v for v in self.stretch(start, 1.0)[0] if self._place[v] < self._place[suspect]]
            before = [v for v in before if v in self._fed]
            found = min((v for v in before if self.difference(v) > 1.0), key=self._place.__getitem__, default=None)
            if found is not None or not self._look_among(before):
                return found

    def _origin(self, suspect: ir.Value) -> ir.Value:
        limit = 1.0
        while True:
            suspect = self._earliest_beyond(suspect, limit)
            inputs = [value for value in self.stretch(suspect, limit)[1] if self.difference(value) > 0]
            worst = max(inputs, key=self.difference, default=None)
            if worst is None or self.difference(worst) < max(ROUNDING, self.difference(suspect) / JUMP):
                return suspect
            limit = min(limit, self.difference(worst)) * 0.99
            suspect = worst

    def _earliest_beyond(self, suspect: ir.Value, limit: float) -> ir.Value:
        while True:
            stretch, _ = self.stretch(suspect, limit)
            earlier = min((value for value in stretch if self.difference(value) > limit), key=self._place.__getitem__)
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

    def stretch(self, suspect: ir.Value, limit: float) -> tuple[list[ir.Value], list[ir.Value]]:
        """The values that may have made `suspect` differ, itself included, in order; and the agreeing ones behind."""
        inside, border, waiting = {suspect}, set(), [suspect]
        while waiting:
            node = waiting.pop().producer()
            for value in [] if node is None else read_by(node):
                if value not in self._place or value in inside:
                    continue
                if value.name in self._known and self.difference(value) <= limit:
                    border.add(value)
                else:
                    inside.add(value)
                    waiting.append(value)
        return sorted(inside, key=self._place.__getitem__), sorted(border, key=self._place.__getitem__)

    @property
    def looked(self) -> int:
        """How many values were looked at."""
        return len(self._known)

    def difference(self, value: ir.Value) -> float:
        """In units of its tolerance; 0.0 for a value that was not looked at."""
        return self._known.get(value.name or "", 0.0)

    def _look(self, values: Sequence[ir.Value]) -> None:
        names = [value.name for value in values if value.name]
        self.rounds += 1
        left, right = self._reference.look(names), self._candidate.look(names)
        for name, array in self._plain.items():
            self.looking_changed = max(self.looking_changed, largest_difference(array, right[name]))
        for name in names:
            expected, found = left.get(name), right[name]
            if expected is None or expected.dtype != found.dtype or not merges_into(expected.shape, found.shape):
                self._hopeless.add(name)
                continue
            found = found.reshape(expected.shape)
            self._known[name] = self._degree(expected, found)
            if self._known[name] > 0:
                self.compared[name] = compare_within({name: expected}, {name: found}, EXACT).outputs[0]

    def _degree(self, reference: Array, candidate: Array) -> float:
        return in_tolerances(reference, candidate, self._tolerances.inside)


def _fed_by_inputs(model: ir.Model) -> set[ir.Value]:
    """The values that depend on a graph input."""
    fed = {value for value in model.graph.inputs if not value.is_initializer()}
    for node in model.graph:
        if not fed.isdisjoint(read_by(node)):
            fed.update(node.outputs)
    return fed
