"""The pipeline with every pass held against the model before all passes: a wrong rewrite is undone and named.

1. The model is run on drawn inputs of several sizes, twice: what differs between two runs is random, and left out.
2. What a pass that changed something has left is run on the same inputs. Each output has to be the original's, and each
   value that a rewrite put in has to be, or to repeat, the one that it stands for: a fault shows where it is made, also
   where a Relu behind it hides it. Where one differs by more than rounding (`_ROUNDING`), the pass is bisected to the
   first rewrite that makes it differ.
3. The rewrites before that one are kept, those after it are not made, and `settle` does not run the pass again.
"""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.passes import Pass, Target
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline.pass_names import AnyPass, pass_name
from pytest_modelcheck.pipeline.prepare import prepare
from pytest_modelcheck.pipeline.records import PassStatus
from pytest_modelcheck.pipeline.run import run_prepared
from pytest_modelcheck.result import Refused
from pytest_modelcheck.runtimes import FeedError, Session, SessionError, inputs_from_signature, open_session

_SIZES = (None, 1, 5)
"""What named dimensions are in the inputs that are drawn: the usual sizes (runtimes/drawn_inputs.py), then these."""

_ROUNDING = {
    ir.DataType.BFLOAT16: 5e-2,
    ir.DataType.FLOAT16: 2e-2,
    ir.DataType.FLOAT: 1e-3,
    ir.DataType.DOUBLE: 1e-6,
}
"""How far a result may be from the original's, as a share of its largest value (or of 1), where the model computes in
this type at the least; what is not a float is equal."""

Arrays = Mapping[str, np.ndarray[Any, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongRewrite:
    """A rewrite that was undone.

    Attributes:
        pass_name: The pass that made it.
        rule: Its rule; empty for a pass that is not ours.
        rewrite, rewrites: Which one it was, from 1, and how many the pass made; 0 for a pass that is not ours.
        node: The first node that it took out.
        difference: Which output or value differs, and by how much.
    """

    pass_name: str
    rule: str
    rewrite: int
    rewrites: int
    node: str
    difference: str

    def __str__(self) -> str:
        which = f", rule {self.rule!r}, rewrite {self.rewrite} of {self.rewrites}" if self.rewrite else ""
        return f"{self.pass_name}{which}, at node {self.node!r}: {self.difference}; undone"


def run_verified(
    model: ir.Model, passes: Sequence[AnyPass], target: Target
) -> tuple[ir.Model, dict[str, tuple[Refused, ...]], tuple[WrongRewrite, ...]]:
    """Run passes in order on a copy of `model`, a valid one.

    Returns:
        The result, what each pass refused, and the rewrites that were undone.

    Raises:
        OptionError: if onnxruntime cannot run the model on any drawn inputs.
        PassFailedError: naming the pass that raised, or left an invalid model.
    """
    stage = prepare(model)
    reference = _Reference(model, stage)
    refusals: dict[str, tuple[Refused, ...]] = {}
    wrong: list[WrongRewrite] = []
    for pass_ in passes:
        if isinstance(pass_, Settle):
            for undone in wrong:
                pass_ = pass_.without(undone.pass_name)
        after, record = run_prepared(stage, pass_, target)
        if record.status is PassStatus.ERROR:
            raise PassFailedError(f"{record.name}: {record.error}")
        refusals[record.name] = record.refusals
        if record.changed and _difference_of(stage, after, pass_, target, reference):
            after, found = _up_to_the_wrong_one(stage, pass_, target, reference)
            wrong.append(found)
        stage = after
    return stage, refusals, tuple(wrong)


def _up_to_the_wrong_one(
    before: ir.Model, pass_: AnyPass, target: Target, reference: _Reference
) -> tuple[ir.Model, WrongRewrite]:
    """What `pass_` leaves if it stops before its first wrong rewrite, and that rewrite."""
    rules: tuple[str, ...] = ()
    number = 0
    good = before
    if isinstance(pass_, Pass):
        own = pass_
        rules = dataclasses.replace(own, target=target).call(before.clone()).rules

        def first(count: int) -> tuple[ir.Model, Pass]:
            part = dataclasses.replace(own, max_rewrites=count)
            return run_prepared(before, part, target)[0], part

        def is_wrong(count: int) -> bool:
            return bool(_difference_of(before, *first(count), target, reference))

        number = 1 + bisect.bisect_left(range(1, len(rules)), True, key=is_wrong)  # all of them are known to be wrong
        good = first(number - 1)[0] if number > 1 else before
        bad, pass_ = first(number)
    else:
        bad = run_prepared(before, pass_, target)[0]
    left = {node.name for node in all_nodes(bad)}
    return good, WrongRewrite(
        pass_name=pass_name(pass_),
        rule=rules[number - 1] if rules else "",
        rewrite=number,
        rewrites=len(rules),
        node=next((node.name or "" for node in all_nodes(good) if node.name not in left), ""),
        difference=_difference_of(before, bad, pass_, target, reference),
    )


def _difference_of(before: ir.Model, after: ir.Model, pass_: AnyPass, target: Target, reference: _Reference) -> str:
    """What is wrong with `after`, which `pass_` made of `before`; empty where nothing is."""
    if (found := reference.difference(after)) or not isinstance(pass_, Pass) or pass_.moves_factors:
        return found
    edited = before.clone()
    outcome = dataclasses.replace(pass_, target=target).call(edited)
    return reference.inner_difference(before.clone(), edited, _stand_ins(before, edited, outcome.replaced))


def _stand_ins(before: ir.Model, edited: ir.Model, replaced: Mapping[str, ir.Value]) -> dict[str, ir.Value]:
    """Name of a value that a node of the main graph makes -> the one, of `edited`, that stands for it in the end."""
    made = {value.name: value for node in before.graph for value in node.outputs}
    left = {value for node in edited.graph for value in node.outputs} | {*edited.graph.initializers.values()}
    found: dict[str, ir.Value] = {}
    for name, value in replaced.items():
        while (later := replaced.get(value.name or "")) is not None and later is not value:
            value = later
        if name in made and isinstance(made[name].type, ir.TensorType) and value in left:
            found[name] = value
    return found


class _Reference:
    """What the model before all passes computes from drawn inputs; its types are known of `prepared`."""

    def __init__(self, model: ir.Model, prepared: ir.Model) -> None:
        types = {value.dtype for node in all_nodes(prepared) for value in (*node.inputs, *node.outputs) if value}
        self._rounding = max((share for dtype, share in _ROUNDING.items() if dtype in types), default=0.0)
        self._runs: list[tuple[Arrays, Arrays]] = []
        reason = ""
        try:
            session = open_session(model)
        except SessionError as error:
            raise OptionError(f"verify: the model cannot be run: {error}") from error
        for seed, size in enumerate(_SIZES):
            try:
                feeds = inputs_from_signature(session, seed, size)
                once, again = session.run(feeds), session.run(feeds)
            except (FeedError, SessionError) as error:  # not every model takes all sizes
                reason = reason or str(error)
                continue
            same = {name: array for name, array in once.items() if not self._difference(array, again[name])}
            if not self._runs or any(array.shape != self._runs[0][0][name].shape for name, array in feeds.items()):
                self._runs.append((feeds, same))
        if not self._runs:
            raise OptionError(f"verify: the model cannot be run on drawn inputs: {reason}")

    def difference(self, model: ir.Model) -> str:
        """Which output of `model` differs, and by how much; empty where none does."""
        try:
            session = open_session(model)
            for feeds, expected in self._runs:
                outputs = session.run(feeds)
                for name, array in expected.items():
                    if difference := self._difference(array, outputs[name]):
                        return f"output {name!r} {difference}"
        except SessionError as error:
            return f"its result cannot be run: {error}"
        return ""

    def inner_difference(self, before: ir.Model, edited: ir.Model, stand_ins: Mapping[str, ir.Value]) -> str:
        """Which of the values of `before` the one that stands for it in `edited` is not; empty where each is."""
        kept = {name: value for name, value in stand_ins.items() if value.const_value is None}
        constants = {
            name: _text(value.const_value.numpy()) for name, value in stand_ins.items() if value.const_value is not None
        }
        try:
            original, edition = _with_outputs(before, stand_ins), _with_outputs(edited, _names(kept.values()))
            for feeds, _ in self._runs:
                once, again, found = original.run(feeds), original.run(feeds), edition.run(feeds)
                arrays = {**constants, **{name: found[value.name or ""] for name, value in kept.items()}}
                for name, array in arrays.items():
                    is_random = self._difference(once[name], again[name])
                    if not is_random and (difference := self._difference(once[name], _as(once[name], array))):
                        return f"value {name!r} {difference}"
        except SessionError as error:
            return f"its values cannot be run: {error}"
        return ""

    def _difference(self, expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> str:
        if expected.shape != found.shape or expected.dtype != found.dtype:
            return f"is {found.dtype}{list(found.shape)} instead of {expected.dtype}{list(expected.shape)}"
        if expected.dtype.kind in "OSU" or ir.DataType.from_numpy(expected.dtype) not in _ROUNDING:
            changed = int(np.sum(expected != found))
            return f"differs in {changed} of {expected.size} elements" if changed else ""
        left, right = expected.astype(np.float64), found.astype(np.float64)
        tolerance = self._rounding * max(1.0, float(np.abs(left[np.isfinite(left)]).max(initial=0.0)))
        if np.allclose(left, right, rtol=0.0, atol=tolerance, equal_nan=True):
            return ""
        both = np.isfinite(left) & np.isfinite(right)
        furthest = float(np.abs(left - right)[both].max(initial=0.0))
        return f"differs by {furthest:.3g}, where {tolerance:.3g} is rounding"


def _names(values: Iterable[ir.Value]) -> list[str]:
    return list(dict.fromkeys(value.name or "" for value in values))


def _with_outputs(model: ir.Model, names: Iterable[str]) -> Session:
    """A session of `model`, which is edited, that gives these values of its main graph, too."""
    values = {value.name: value for node in model.graph for value in node.outputs}
    model.graph.outputs.extend(values[name] for name in names if not values[name].is_graph_output())
    return open_session(model)


def _text(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`array` with strings as a session gives them: a tensor of the file holds their bytes."""
    return np.vectorize(bytes.decode, [object])(array) if array.dtype == object and array.size else array


def _as(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`found` in the shape of `expected`, where it has or repeats its elements: readers of a value may take either."""
    with contextlib.suppress(ValueError):
        return found.reshape(expected.shape) if found.size == expected.size else np.broadcast_to(found, expected.shape)
    return found
