"""The weights themselves, compared: a weight that is off by a thousandth moves no output beyond its rounding.

In BERT-base one element that is off by 1e-3 of its value changes the outputs by 1e-8, and no tolerance that a faithful
export can keep shows it. The weights can be held against each other exactly:

1. Every tensor of the reference (parameters and buffers of the module, or initializers of a graph) is looked up in the
   candidate by its name; one that is not there is looked up among the initializers of its shape, or of its shape
   transposed, that no name explains. Exporters fold the transposition of a Linear's weight and give it a new name.
2. Two tensors are the same weight if they are equal element by element, or if one is the other times one factor per
   channel, to 1e-5 of each element: that is what folding a BatchNormalization or a scale leaves. Factors that are
   nearly, but not quite, those of one of the model's own BatchNormalizations, or nearly 1, are a change.
3. The same weight with a few other elements, or with every element a little off (rounded, say), is a changed weight. A
   tensor that no rule explains was folded into something else (a bias, a table that was cut): nothing is said about
   it, and it is counted as not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import to_numpy
from pytest_modelcheck.result import Finding

FEW = 0.01
"""Share of elements that may differ in the same weight (at least one element): beyond it, it is another tensor."""

FEW_NAMED = 0.5
"""The same where both have one name: no fold leaves half of the elements as they were."""

SMALLEST = 16
"""Elements below which a tensor is recognised by its name only."""

FOLDED_RTOL = 1e-5
"""What a folded factor may be off by, per element: float32 rounds each of its few operations to 6e-8."""

NEAR = 0.02
"""A tensor whose every element is within this share of the largest magnitude is the same weight, a little off."""

PROBE = 4096
"""Elements looked at to see whether one tensor can be the other one, scaled."""

ROWS = 64
"""Rows compared at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedWeight:
    """A weight that both sides have, with some elements that differ.

    Attributes:
        name: Its name in the reference.
        initializer: Its name in the candidate.
        relation: How the two relate but for the changed elements: ``""``, ``"transposed"``, ``"scaled per channel"``.
        changed, size: How many elements differ, and how many there are.
        index: Place of the largest difference, in the candidate.
        expected, found: The two values there.
    """

    name: str
    initializer: str
    relation: str
    changed: int
    size: int
    index: tuple[int, ...]
    expected: float
    found: float

    def describe(self) -> str:
        """One line for a finding's `where`."""
        also = ", ".join(part for part in (repr(self.initializer), self.relation) if part)
        known_as = "" if self.initializer == self.name and not self.relation else f" (initializer {also})"
        return (
            f"weight {self.name}{known_as}: {self.changed} of {self.size} elements differ, "
            f"{self.found:.9g} instead of {self.expected:.9g} at {list(self.index)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """What became of the reference's weights.

    Attributes:
        compared: Names of those found again, changed ones included.
        unexplained: Names of those that no initializer of the candidate stands for: folded, cut, or not used.
        changed: Those with other elements.
    """

    compared: tuple[str, ...]
    unexplained: tuple[str, ...]
    changed: tuple[ChangedWeight, ...]

    def finding(self, model: str, context: str, next_step: str = "") -> Finding | None:
        """What is wrong; None where every weight that was found again is unchanged."""
        if not self.changed:
            return None
        return Finding(
            gate="expect_accuracy",
            model=model,
            subject="weights",
            expected=f"the {len(self.compared)} weights that both sides have, equal",
            found=f"{len(self.changed)} changed",
            context=context,
            where=tuple(weight.describe() for weight in self.changed[:5])
            + ((f"and {len(self.changed) - 5} more",) if len(self.changed) > 5 else ()),
            next=next_step,
        )


def weights_of(model: ir.Model | torch.nn.Module, leave_out: Collection[str] = ()) -> Mapping[str, Array]:
    """Parameters and buffers of a module, or initializers of a graph, by name.

    Integers and bools are left out.
    """
    return {name: array() for name, array in _weights(model) if name not in leave_out}


def _shared_weights(reference: object, candidate: object) -> tuple[str, ...]:
    """Names under which two graphs hold one tensor object, or one place of a file: equal without being read."""
    if not isinstance(reference, ir.Model) or not isinstance(candidate, ir.Model):
        return ()
    others = candidate.graph.initializers
    return tuple(
        name
        for name, value in reference.graph.initializers.items()
        if value.const_value is not None and name in others and _is_same_tensor(value.const_value, others[name])
    )


def _is_same_tensor(tensor: ir.TensorProtocol, value: ir.Value) -> bool:
    other = value.const_value
    if isinstance(tensor, ir.ExternalTensor) and isinstance(other, ir.ExternalTensor):
        places = [(Path(t.path).resolve(), t.offset, t.length, t.dtype, t.shape) for t in (tensor, other)]
        return places[0] == places[1]
    return other is tensor


def _weights(model: ir.Model | torch.nn.Module) -> Iterator[tuple[str, Callable[[], Array]]]:
    if isinstance(model, ir.Model):
        for name, value in model.graph.initializers.items():
            if value.const_value is not None and value.const_value.dtype.is_floating_point():
                yield name, value.const_value.numpy
        return
    recomputed = _recomputed_parameters(model)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        lazy = torch.nn.parameter.is_lazy(tensor)
        if not lazy and tensor.layout is torch.strided and tensor.is_floating_point() and name not in recomputed:
            yield name, partial(to_numpy, tensor)


def _recomputed_parameters(module: torch.nn.Module) -> set[str]:
    """Parameters whose module computes the weight it uses from them: parametrized, pruned, weight-normed."""
    names = {name for name, _ in module.named_parameters() if ".parametrizations." in f".{name}"}
    return names | {name for name, _ in module.named_parameters() if name.endswith(("_orig", "_g", "_v"))}


def compare_weights(
    reference: ir.Model | torch.nn.Module | Mapping[str, Array], candidate: ir.Model | Mapping[str, Array]
) -> WeightsReport:
    """Find the weights of `reference` in `candidate`, and say which of them have other elements."""
    shared = _shared_weights(reference, candidate)
    expected = reference if isinstance(reference, Mapping) else weights_of(reference, leave_out=shared)
    found = candidate if isinstance(candidate, Mapping) else weights_of(candidate, leave_out=shared)
    folds = folded_factors(reference) if isinstance(reference, ir.Model | torch.nn.Module) else ()
    if isinstance(reference, ir.Model):  # small ones are constants of the computation, which a pass may rewrite
        expected = {name: array for name, array in expected.items() if array.size >= SMALLEST}
    compared: list[str] = list(shared)
    changed: list[ChangedWeight] = []
    left = dict(found)
    searched: list[str] = []
    for name, weight in expected.items():
        other = found.get(name)
        if other is None or other.shape != weight.shape or other.dtype != weight.dtype:
            searched.append(name)
            continue
        if (result := _same_weight(weight, other, FEW_NAMED, folds)) is None:
            continue
        left.pop(name, None)
        compared.append(name)
        changed += _changed(name, name, weight, result)
    for may_be in (_may_equal, _may_be_scaled):
        for name in [name for name in searched if name not in compared]:
            for initializer in [key for key, other in left.items() if may_be(expected[name], other)]:
                if (result := _same_weight(expected[name], left[initializer], FEW, folds)) is not None:
                    left.pop(initializer)
                    compared.append(name)
                    changed += _changed(name, initializer, expected[name], result)
                    break
    known = set(compared)
    return WeightsReport(
        compared=tuple(compared),
        unexplained=tuple(name for name in expected if name not in known),
        changed=tuple(changed),
    )


@dataclass(frozen=True, slots=True)
class _Match:
    """`expected` is the reference brought into the candidate's form; `differing` are flat indices into it."""

    relation: str
    expected: Array
    found: Array
    differing: Array


def _changed(name: str, initializer: str, weight: Array, match: _Match) -> list[ChangedWeight]:
    if not match.differing.size:
        return []
    expected, found = match.expected.reshape(-1)[match.differing], match.found.reshape(-1)[match.differing]
    with np.errstate(all="ignore"):
        distance = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    worst = int(np.argmax(np.where(np.isnan(distance), np.inf, distance)))
    index = np.unravel_index(int(match.differing[worst]), match.found.shape)
    return [
        ChangedWeight(
            name=name,
            initializer=initializer,
            relation=match.relation,
            changed=int(match.differing.size),
            size=int(weight.size),
            index=tuple(int(i) for i in index),
            expected=float(expected[worst]),
            found=float(found[worst]),
        )
    ]


def _may_equal(weight: Array, other: Array) -> bool:
    """Whether the shapes and the first elements allow `other` to be `weight`, or its transpose."""
    if weight.size < SMALLEST or weight.dtype != other.dtype:
        return False
    pairs = [(form[:1], other[:1]) for _, form in _forms(weight, other)]
    return any(float(np.mean(left == right)) > 0.9 for left, right in pairs)


def _may_be_scaled(weight: Array, other: Array) -> bool:
    """The same for `weight` with a factor per channel, as far as some of its rows show."""
    if weight.size < SMALLEST or weight.dtype != other.dtype or not 2 <= weight.ndim == other.ndim:
        return False
    rows = max(2, PROBE * other.shape[0] // other.size)
    pairs = [(form[:rows], other[:rows]) for _, form in _forms(weight, other)]
    return any(
        _is_near(left, right) or any(_scaled(left, right, axis).size <= 0.1 * left.size for axis in (0, 1))
        for left, right in pairs
    )


def _forms(weight: Array, other: Array) -> Iterator[tuple[str, Array]]:
    if weight.shape == other.shape:
        yield "", weight
    if weight.ndim == 2 and weight.T.shape == other.shape:
        yield "transposed", weight.T


def _same_weight(weight: Array, other: Array, few: float, folds: Sequence[Array]) -> _Match | None:
    """How `other` is `weight`; None where it is not."""
    if weight is other:
        return _Match("", weight, other, np.empty(0, np.int64))
    allowed = max(1, int(few * weight.size)) if weight.size > 1 else 1
    for relation, form in _forms(weight, other):
        differing = _differing(form, other)
        if differing.size <= allowed:
            return _Match(relation, form, other, differing)
    allowed = max(1, int(FEW * weight.size))
    for relation, form in _forms(weight, other):
        for axis in (0, 1) if weight.ndim > 1 else ():
            if _scaled(form, other, axis).size <= allowed:
                return _scaled_match(form, other, axis, folds)
        if _is_near(form, other):
            return _Match(relation, form, other, _differing(form, other))
    for fold in folds:
        if weight.ndim > 1 and weight.shape == other.shape and fold.size == weight.shape[0]:
            folded = (weight * fold.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
            if _is_near(folded, other):
                return _Match("scaled per channel", folded, other, _differing(folded, other))
    return None


def _scaled_match(form: Array, other: Array, axis: int, folds: Sequence[Array]) -> _Match:
    """`form` times what it was meant to be multiplied by, against `other`."""
    factors = _factors(form, other, axis)
    meant = _meant_factors(factors.reshape(-1).astype(np.float64), folds).reshape(factors.shape)
    expected = (form * meant).astype(form.dtype)
    with np.errstate(all="ignore"):
        near = np.abs(other - expected) <= FOLDED_RTOL * np.abs(expected) + np.finfo(form.dtype).tiny
    return _Match("scaled per channel", expected, other, np.flatnonzero(~near))


def _meant_factors(factors: Array, folds: Sequence[Array]) -> Array:
    """The known factors that these are nearly, but not quite; else the factors themselves."""
    known = [fold for fold in folds if fold.shape == factors.shape]
    known.append(np.ones_like(factors))
    with np.errstate(all="ignore"):
        distances = [float(np.nanmax(np.abs(factors / fold - 1))) for fold in known]
    nearest = int(np.argmin(distances))
    ordinary = nearest < len(known) - 1 or np.ptp(factors) <= FOLDED_RTOL
    if not ordinary or distances[nearest] > NEAR or distances[nearest] <= FOLDED_RTOL:
        return factors
    return known[nearest]


def folded_factors(model: ir.Model | torch.nn.Module) -> tuple[Array, ...]:
    """Per BatchNormalization: scale / sqrt(variance + epsilon), what a convolution before it is multiplied by."""
    found = []
    if isinstance(model, ir.Model):
        for node in model.graph:
            tensors = [value.const_value for value in (*node.inputs[1:2], *node.inputs[4:5]) if value is not None]
            if node.op_type == "BatchNormalization" and len(tensors) == 2 and None not in tensors:
                scale, variance = (tensor.numpy().astype(np.float64) for tensor in tensors if tensor is not None)
                found.append(scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5)))
        return tuple(found)
    for module in model.modules():
        running = getattr(module, "running_var", None)
        if isinstance(running, torch.Tensor) and isinstance(epsilon := getattr(module, "eps", None), float):
            deviation: Array = np.sqrt(to_numpy(running).astype(np.float64) + epsilon)
            weight = getattr(module, "weight", None)
            found.append((to_numpy(weight) if isinstance(weight, torch.Tensor) else 1.0) / deviation)
    return tuple(found)


def _is_near(form: Array, other: Array) -> bool:
    """Whether every element is a little off, none by more than rounding to 8 bits would leave."""
    if form.size < SMALLEST or form.dtype not in (np.float32, np.float64):
        return False
    largest = float(np.abs(form).max())
    if not np.isfinite(largest) or np.ptp(form) <= NEAR * largest:
        return False  # elements that are all alike are near anything
    difference = np.abs(other - form)
    return bool((difference <= NEAR * largest).all()) and float(difference.mean()) <= 0.1 * float(form.std())


def _differing(left: Array, right: Array) -> Array:
    """Flat indices of elements that differ; a NaN on both sides is the same."""
    if left.ndim == 0:
        return np.flatnonzero(left != right)
    found = []
    for start in range(0, len(left), ROWS):  # one of the two may be transposed: few rows at a time stay in the cache
        a, b = left[start : start + ROWS], right[start : start + ROWS]
        different = a != b
        if different.any():
            different &= ~(np.isnan(a.astype(np.float32)) & np.isnan(b.astype(np.float32)))
            found.append(np.flatnonzero(different) + start * (left.size // len(left)))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _factors(left: Array, right: Array, axis: int) -> Array:
    """The factor of each channel: the median over its elements, so that few changed ones do not matter."""
    others = tuple(i for i in range(left.ndim) if i != axis)
    with np.errstate(all="ignore"):
        ratio = np.where(left == 0, np.nan, right / left)
        medians: Array = np.nan_to_num(np.nanmedian(ratio, axis=others, keepdims=True), nan=0.0)
    return medians.astype(left.dtype)


def _scaled(left: Array, right: Array, axis: int) -> Array:
    """Flat indices of elements that are not `left` times one factor per channel of `axis`."""
    if left.shape[axis] == left.size or left.dtype not in (np.float32, np.float64):
        return np.arange(left.size)
    with np.errstate(all="ignore"):
        expected = left * _factors(left, right, axis)
        near = np.abs(right - expected) <= FOLDED_RTOL * np.abs(expected) + np.finfo(left.dtype).tiny
    return np.flatnonzero(~near)
