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

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import to_numpy
from pytest_modelcheck.accuracy.weight_match import (
    FEW,
    FEW_NAMED,
    SMALLEST,
    Match,
    folded_factors,
    may_be_scaled,
    may_equal,
    same_weight,
)
from pytest_modelcheck.result import Finding, first_lines


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
            where=first_lines([weight.describe() for weight in self.changed], 5),
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
        if (result := same_weight(weight, other, FEW_NAMED, folds)) is None:
            continue
        left.pop(name, None)
        compared.append(name)
        changed += _changed(name, name, weight, result)
    for may_be in (may_equal, may_be_scaled):
        for name in [name for name in searched if name not in compared]:
            for initializer in [key for key, other in left.items() if may_be(expected[name], other)]:
                if (result := same_weight(expected[name], left[initializer], FEW, folds)) is not None:
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


def _changed(name: str, initializer: str, weight: Array, match: Match) -> list[ChangedWeight]:
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
