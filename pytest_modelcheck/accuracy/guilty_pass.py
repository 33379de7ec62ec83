"""Which pass changed the numbers, and which of its rewrites.

The pipeline is bisected: a prefix of it is good if its result agrees with the model before all passes. Intermediate
models share their weights, so that keeping all of them costs their graphs only. Inside one of our passes the count of
rewrites is bisected in the same way; what the first bad rewrite took out and put in is what a finding names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.accuracy.comparison import Comparison, compare_within
from pytest_modelcheck.accuracy.metrics import Array, count_nan
from pytest_modelcheck.accuracy.places import node_place
from pytest_modelcheck.accuracy.stages import Inputs, feeds_for
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.accuracy.weights import ChangedWeight, compare_weights
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.graph.counts import all_nodes, is_constant
from pytest_modelcheck.passes import Pass, PassOutcome, Target
from pytest_modelcheck.pipeline import AnyPass, PassStatus, as_passes, pass_name, prepare, run_pass
from pytest_modelcheck.result import listed
from pytest_modelcheck.runtimes import AS_WRITTEN, How, SessionError, open_session

PLACES = 5
"""How many removed and added nodes a finding lists."""


class UnusableReferenceError(ModelCheckError):
    """A model that gives NaN cannot say which pass made another model differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuiltyPass:
    """The first pass whose result differs from the model before all passes, while the one before it does not.

    Attributes:
        name: Its name.
        index: Its place in the pipeline, from 0.
        rewrite: Which of its rewrites is the first bad one, from 1; None where it cannot be stopped half way.
        rewrites: How many it makes in all; None as above.
        rule: Which of the pass's rules made the bad rewrite; None as above, and for a pass with one rule.
        removed, added: Places of the nodes that this rewrite (or pass) took out and put in, Constants left out.
        comparison: The model before all passes against the result of the guilty pass, at the worst seed; None where
            that result cannot be run.
        error: Why it cannot be run; empty where it can.
        weights: Weights that it changed in a few elements, which outputs need not show.
    """

    name: str
    index: int
    rewrite: int | None
    rewrites: int | None
    rule: str | None
    removed: tuple[str, ...]
    added: tuple[str, ...]
    comparison: Comparison | None
    error: str = ""
    weights: tuple[ChangedWeight, ...] = ()

    def describe(self) -> tuple[str, ...]:
        """Lines for a finding's `where`."""
        which = f", rewrite {self.rewrite} of {self.rewrites}" if self.rewrite is not None else ""
        which += f", by rule {self.rule}" if self.rule is not None else ""
        lines = [f"pass {self.name} (number {self.index + 1} of the pipeline{which})"]
        for verb, places in (("took out", self.removed), ("put in", self.added)):
            lines += [f"{verb} {listed(places, PLACES, '; ')}"] if places else []
        lines += [weight.describe() for weight in self.weights[:PLACES]]
        return (*lines, *([f"its result cannot be run: {self.error}"] if self.error else []))


def find_guilty_pass(
    model: ir.Model,
    inputs: Callable[[int], Inputs],
    *,
    passes: Sequence[AnyPass] | None = None,
    target: Target = "portable",
    seeds: Iterable[int] = (0,),
    tolerances: Tolerances = DEFAULTS,
    how: How = AS_WRITTEN,
    weights: bool = False,
) -> GuiltyPass | None:
    """Bisect the pipeline to the first pass that makes the outputs differ beyond the tolerance.

    Args:
        model: The model before all passes.
        inputs: seed -> inputs, as for `sweep`.
        passes, target: As for `run_pipeline`.
        seeds: Those whose outputs are compared; the worst seed of a sweep is enough.
        tolerances: How closely the outputs must agree.
        how: How each model is run.
        weights: Whether a pass that changes a weight (`compare_weights`) is guilty, too, whatever the outputs show.

    Returns:
        The guilty pass; None where the whole pipeline's result agrees.

    Raises:
        SessionError: if the model before all passes cannot be run. A pass whose result cannot be run is guilty.
        UnusableReferenceError: if that model gives NaN by itself: no pass is to blame.
    """
    drawn = [inputs(seed) for seed in seeds]
    judge = _Judge(model, drawn, tolerances, how, weights)
    models = [model]
    fired: list[tuple[int, AnyPass]] = []  # pipeline index and pass, for each model after the first
    for index, pass_ in enumerate(as_passes(passes, target)):
        after, record = run_pass(models[-1], pass_, target)
        if record.status is PassStatus.FIRED:
            models.append(after)
            fired.append((index, pass_))
    if judge.agrees(models[-1]):
        return None
    bad = first_bad(len(models) - 1, lambda count: judge.agrees(models[count]))
    index, pass_ = fired[bad - 1]
    before, after = models[bad - 1], models[bad]
    rewrite, rewrites, rule = None, None, None
    if isinstance(pass_, Pass):
        stepped = _Steps(before, pass_, target)
        rewrites = stepped.count
        if not judge.agrees(stepped.after(rewrites)):
            rewrite = first_bad(rewrites, lambda count: judge.agrees(stepped.after(count)))
            before, after = stepped.after(rewrite - 1), stepped.after(rewrite)
            rule = stepped.rules[rewrite - 1] if pass_.rules else None
    removed, added = _changes(before, after)
    comparison, error = judge.judged(models[bad])
    return GuiltyPass(
        name=pass_name(pass_),
        index=index,
        rewrite=rewrite,
        rewrites=rewrites if rewrite is not None else None,
        rule=rule,
        removed=removed,
        added=added,
        comparison=comparison,
        error=error,
        weights=compare_weights(model, models[bad]).changed if weights else (),
    )


def first_bad(count: int, good: Callable[[int], bool]) -> int:
    """The smallest n in 1..count that is bad while n - 1 is good, given that 0 is good and `count` is bad."""
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        if good(middle):
            low = middle
        else:
            high = middle
    return high


class _Judge:
    """Runs models on the same inputs and holds them against the first one."""

    def __init__(
        self,
        model: ir.Model,
        drawn: Sequence[Inputs],
        tolerances: Tolerances,
        how: How,
        weights: bool,
    ) -> None:
        self._drawn = drawn
        self._model = model
        self._tolerances = tolerances
        self._weights = weights
        self._how = how
        self._reference = self._outputs(model)
        if any(count_nan(array) for outputs in self._reference for array in outputs.values()):
            raise UnusableReferenceError("the model before all passes gives NaN by itself: no pass is to blame")

    def judged(self, model: ir.Model) -> tuple[Comparison | None, str]:
        """The worst comparison over the seeds, or why there is none."""
        try:
            candidate = self._outputs(model)
        except SessionError as error:
            return None, str(error)
        pairs = zip(self._reference, candidate, strict=True)
        said = "after against before the pass"
        made = [compare_within(r, c, self._tolerances, context=said) for r, c in pairs]
        return max(made, key=lambda comparison: comparison.badness), ""

    def agrees(self, model: ir.Model) -> bool:
        if self._weights and compare_weights(self._model, model).changed:
            return False
        comparison, _ = self.judged(model)
        return comparison is not None and not any(output.status.failed for output in comparison.outputs)

    def _outputs(self, model: ir.Model) -> list[Mapping[str, Array]]:
        session = open_session(model, self._how)
        return [session.run(feeds_for(session, inputs)) for inputs in self._drawn]


class _Steps:
    """A pass, stopped after its first n rewrites."""

    def __init__(self, model: ir.Model, pass_: Pass, target: Target) -> None:
        self._model = prepare(model)
        self._pass = dataclasses.replace(pass_, target=target)
        self.rules = self._run(None).rules
        self.count = len(self.rules)

    def after(self, count: int) -> ir.Model:
        return self._run(count).model

    def _run(self, limit: int | None) -> PassOutcome:
        outcome = dataclasses.replace(self._pass, max_rewrites=limit)(self._model.clone())
        assert isinstance(outcome, PassOutcome)
        return outcome


def _changes(before: ir.Model, after: ir.Model) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Places of the nodes that only one of the two has, told apart by operator and output names."""

    def keyed(model: ir.Model) -> dict[tuple[str, ...], ir.Node]:
        nodes = (node for node in all_nodes(model) if not is_constant(node))
        return {(node.op_type, *(output.name or "" for output in node.outputs)): node for node in nodes}

    old, new = keyed(before), keyed(after)
    removed = tuple(node_place(node) for key, node in old.items() if key not in new)
    return removed, tuple(node_place(node) for key, node in new.items() if key not in old)
