"""Whether one tensor matches another: as it is, transposed, times one factor per channel, or a little off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import to_numpy
from pytest_modelcheck.graph.constants import constant_array
from pytest_modelcheck.shapes.evaluate import CannotEvaluate, evaluate

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

_PRODUCTS = ("Conv", "ConvTranspose", "MatMul", "Gemm")

_SMALL = 65536
"""Elements up to which a constant is computed: factors are a few thousand at most."""

ROWS = 64
"""Rows compared at once."""


@dataclass(frozen=True, slots=True)
class Match:
    """`expected` is the reference brought into the candidate's form; `differing` are flat indices into it."""

    relation: str
    expected: Array
    found: Array
    differing: Array


def may_equal(weight: Array, other: Array) -> bool:
    """Whether the shapes and the first elements allow `other` to be `weight`, or its transpose."""
    if weight.size < SMALLEST or weight.dtype != other.dtype:
        return False
    pairs = [(form[:1], other[:1]) for _, form in _forms(weight, other)]
    return any(float(np.mean(left == right)) > 0.9 for left, right in pairs)


def may_be_scaled(weight: Array, other: Array) -> bool:
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


def same_weight(weight: Array, other: Array, few: float, folds: Sequence[Array]) -> Match | None:
    """How `other` is `weight`; None where it is not."""
    if weight is other:
        return Match("", weight, other, np.empty(0, np.int64))
    allowed = max(1, int(few * weight.size)) if weight.size > 1 else 1
    for relation, form in _forms(weight, other):
        differing = _differing(form, other)
        if differing.size <= allowed:
            return Match(relation, form, other, differing)
    allowed = max(1, int(FEW * weight.size))
    for relation, form in _forms(weight, other):
        for axis in (0, 1) if weight.ndim > 1 else ():
            if _scaled(form, other, axis).size <= allowed:
                return _scaled_match(form, other, axis, folds)
        if _is_near(form, other):
            return Match(relation, form, other, _differing(form, other))
    for fold in folds:
        if weight.ndim > 1 and weight.shape == other.shape and fold.size == weight.shape[0]:
            folded = (weight * fold.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
            if _is_near(folded, other):
                return Match("scaled per channel", folded, other, _beyond_a_fold(folded, other))
    return None


def _scaled_match(form: Array, other: Array, axis: int, folds: Sequence[Array]) -> Match:
    """`form` times what it was meant to be multiplied by, against `other`."""
    factors = _factors(form, other, axis)
    meant = _meant_factors(factors.reshape(-1).astype(np.float64), folds).reshape(factors.shape)
    expected = (form * meant).astype(form.dtype)
    return Match("scaled per channel", expected, other, _beyond_a_fold(expected, other))


def _beyond_a_fold(expected: Array, other: Array) -> Array:
    """Flat indices of elements that differ by more than the rounding of a fold."""
    with np.errstate(all="ignore"):
        near = np.abs(other - expected) <= FOLDED_RTOL * np.abs(expected) + np.finfo(expected.dtype).tiny
    return np.flatnonzero(~near)


def _meant_factors(factors: Array, folds: Sequence[Array]) -> Array:
    """The known factors that these are nearly, but not quite; else the factors themselves."""
    known = [np.broadcast_to(fold, factors.shape) for fold in folds if fold.shape in (factors.shape, (1,))]
    known.append(np.ones_like(factors))
    with np.errstate(all="ignore"):
        distances = [float(np.nanmax(np.abs(factors / fold - 1))) for fold in known]
    nearest = int(np.argmin(distances))
    ordinary = nearest < len(known) - 1 or np.ptp(factors) <= FOLDED_RTOL
    if not ordinary or distances[nearest] > NEAR or distances[nearest] <= FOLDED_RTOL:
        return factors
    return known[nearest]


def folded_factors(model: ir.Model | torch.nn.Module) -> tuple[Array, ...]:
    """What products are multiplied by, (channels,) or (1,) float64 each.

    Per BatchNormalization scale / sqrt(variance + epsilon); in a graph also the constant of each Mul behind a product.
    """
    if isinstance(model, ir.Model):
        return tuple(_factors_in_graph(model))
    found = []
    for module in model.modules():
        running = getattr(module, "running_var", None)
        if isinstance(running, torch.Tensor) and isinstance(epsilon := getattr(module, "eps", None), float):
            deviation: Array = np.sqrt(to_numpy(running).astype(np.float64) + epsilon)
            weight = getattr(module, "weight", None)
            found.append((to_numpy(weight) if isinstance(weight, torch.Tensor) else 1.0) / deviation)
    return tuple(found)


def _factors_in_graph(model: ir.Model) -> Iterator[Array]:
    opset = model.opset_imports.get("", 1)
    for node in model.graph:
        if node.op_type == "BatchNormalization":
            scale, variance = (constant_of(value, opset) for value in (node.inputs[1], node.inputs[4]))
            if scale is not None and variance is not None:
                epsilon = node.attributes.get_float("epsilon", 1e-5)
                yield scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
        elif node.op_type == "Mul":
            for value, other in (node.inputs, node.inputs[::-1]):
                producer = None if value is None else value.producer()
                if producer is not None and producer.op_type in _PRODUCTS:
                    factor = constant_of(other, opset)
                    if factor is not None and factor.size and max(factor.shape, default=1) == factor.size:
                        yield factor.reshape(-1).astype(np.float64)


def constant_of(value: ir.Value | None, opset: int, depth: int = 8) -> Array | None:
    """What `value` always is, where a few nodes compute it from constants; None where it is not constant.

    Exporters leave such computations in the graph: EfficientDet's weights of what it adds up are Relu, ReduceSum and
    Div of a parameter.
    """
    if (known := constant_array(value)) is not None:
        return known
    node = None if value is None else value.producer()
    if node is None or node.domain or not depth or not node.inputs:
        return None
    inputs = [None if each is None else constant_of(each, opset, depth - 1) for each in node.inputs]
    for given, array in zip(node.inputs, inputs, strict=True):
        if given is not None and (array is None or array.size > _SMALL):
            return None
    try:
        return evaluate(node, inputs, opset)[next(i for i, output in enumerate(node.outputs) if output is value)]
    except CannotEvaluate:
        return None


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
        return _beyond_a_fold(left * _factors(left, right, axis), right)
