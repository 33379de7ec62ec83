"""The scale of the scores: at most one Mul, and none where a projection weight can take it.

Exporters write ``(q * sqrt(s)) @ (k * sqrt(s))``, ``(q * s) @ k``, ``(q @ k) * s`` or ``(q @ k) / (1/s)``. With S the
product of all factors:

1. where q comes, through reshaping alone, from ``x @ W + b`` with constants W and b that nothing else needs:
   ``x @ (W * S) + (b * S)``, and no scaling is left;
2. else where k does, the same with k;
3. else, where there are two scalings or more, q is multiplied by S, and no other scaling is left.

Folded in float64. Source: Vaswani et al., arXiv:1706.03762, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import has_reference_attributes, integer_attribute
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.passes.attention.derived import Array, DerivedConstants, Key, computed_once
from pytest_modelcheck.passes.attention.search import Attention, scaling_of
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import only_reader, produced_by, scope_of, weight_content, weight_shape

_LAYOUT = ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Identity")


@dataclass(frozen=True, slots=True)
class _Scaling:
    """`node` multiplies `data` by `factor`."""

    node: ir.Node
    data: ir.Value
    factor: float


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Where a projection has weight and bias, each as a node and the index of its input.

    Attributes:
        columns: Which columns of the product are meant, where a Split hands them out; None for all of them.
    """

    places: list[tuple[ir.Node, int]]
    columns: tuple[int, int] | None


def try_fold(rewriter: Rewriter, derived: DerivedConstants, attention: Attention) -> bool:
    """Bring the scalings of `attention` down to one or none."""
    query, key, _ = attention.operands
    in_query, query_source = _scalings(query, *_LAYOUT)
    in_key, key_source = _scalings(key, *_LAYOUT)
    scalings = [*in_query, *in_key, *_scalings_between(attention)]
    if not scalings:
        return False
    total = float(np.prod([scaling.factor for scaling in scalings]))
    for source in (query_source, key_source):
        parameters = _parameters(source)
        if parameters is not None and _scale(rewriter, derived, parameters, total):
            for scaling in scalings:
                rewriter.replace([scaling.node], [], {scaling.node.outputs[0]: scaling.data})
            return True
    if len(scalings) == 1:
        return rewriter.refuse(
            "the one scale is not next to a constant projection that only it reads", attention.softmax
        )
    return _merge(rewriter, attention, scalings, total)


def all_scalings(attention: Attention) -> tuple[list[_Scaling] | None, ir.Value, ir.Value]:
    """Every scaling of the scores, and q and k with theirs taken off; None for the list where one follows a mask.

    Only scalings next to the MatMul or inside the reshaping of an operand that ends in a scaling are taken off.
    """
    query, key, _ = attention.operands
    between = _scalings_between(attention)
    if len(between) < sum(node.op_type in ("Mul", "Div") for node in attention.between):
        return None, query, key
    (in_query, query), (in_key, key) = _scalings(query), _scalings(key)
    return [*between, *in_query, *in_key], query, key


def _scalings(operand: ir.Value, *through: str) -> tuple[list[_Scaling], ir.Value]:
    """The scalings on the way back from `operand`, also through these operators, and where the way starts."""
    found = []
    current = operand
    while read_once(current) and (node := produced_by(current, "Mul", "Div", *through)) is not None:
        step = next((s for v in node.inputs if v is not None and (s := _scaling(node, v)) is not None), None)
        if step is not None:
            found.append(step)
            current = step.data
        elif node.op_type in through and node.inputs[0] is not None:
            current = node.inputs[0]
        else:
            break
    return found, current


def _scalings_between(attention: Attention) -> list[_Scaling]:
    """The scalings of the scores before any mask is added."""
    found = []
    current = attention.scores.outputs[0]
    for node in attention.between:
        step = _scaling(node, current)
        if step is None:
            break
        found.append(step)
        current = node.outputs[0]
    return found


def _scaling(node: ir.Node, value: ir.Value) -> _Scaling | None:
    factor = scaling_of(node, value) if node.op_type in ("Mul", "Div") else None
    return None if factor is None else _Scaling(node, value, factor)


def _parameters(source: ir.Value) -> _Parameters | None:
    """Of the projection that makes `source`, or of which a Split makes it, if nothing but the attention needs it."""
    columns, packed = None, source.producer()
    if not read_once(source):
        return None
    if packed is not None and packed.domain == "" and packed.op_type == "Split":
        columns = _columns(packed, source)
        if columns is None or packed.inputs[0] is None or not read_once(packed.inputs[0]):
            return None
        source = packed.inputs[0]
    add = produced_by(source, "Add")
    for index, value in enumerate([source] if add is None else add.inputs):
        product = produced_by(value, "MatMul", "Gemm")
        if product is None or has_reference_attributes(product) or weight_shape(product.inputs[1]) is None:
            continue
        if add is not None and only_reader(product.outputs[0]) is not add:
            continue
        own = [(product, place) for place, given in enumerate(product.inputs) if place > 0 and given is not None]
        return _Parameters([*own, *([] if add is None else [(add, 1 - index)])], columns)
    return None


def _columns(split: ir.Node, part: ir.Value) -> tuple[int, int] | None:
    """First and last-plus-one column of `part`, where `split` divides the last axis at known places."""
    whole = split.inputs[0]
    if whole is None or whole.shape is None or integer_attribute(split, "axis", 0) not in (-1, len(whole.shape) - 1):
        return None
    start = 0
    for output in split.outputs:
        width = None if output.shape is None else output.shape[-1]
        if not isinstance(width, int):
            return None
        if output is part:
            return start, start + width
        start += width
    return None


def _scale(rewriter: Rewriter, derived: DerivedConstants, parameters: _Parameters, total: float) -> bool:
    """Put `total` into weight and bias. False, with nothing edited, where a bias is not a constant."""
    columns = parameters.columns
    scaled: list[tuple[ir.Node, int, Key, Array]] = []
    for node, index in parameters.places:
        value = node.inputs[index]
        shape = weight_shape(value)
        if value is None or shape is None:
            return False
        transposed = node.op_type == "Gemm" and index == 1 and bool(integer_attribute(node, "transB", 0))
        if columns is not None and (not shape or shape[0 if transposed else -1] < columns[1]):
            return False
        key: Key = ("scaled", value, total, columns, transposed)
        scaled.append((node, index, key, computed_once(key, partial(_scaled, value, total, columns, transposed))))
    if not all(np.all(np.isfinite(array)) for *_, array in scaled):
        return False
    for node, index, key, array in scaled:
        value = node.inputs[index]
        hint = value.name if value is not None and value.name else "scaled"
        rewriter.set_input(node, index, derived.get(scope_of(node), key, partial(np.asarray, array), hint))
    return True


def _scaled(value: ir.Value, total: float, columns: tuple[int, int] | None, transposed: bool) -> Array:
    """The weight `value` times `total`, computed in float64: all of it, or these columns (rows where `transposed`)."""
    array = weight_content(value)
    assert array is not None
    factors: float | Array = total
    if columns is not None:
        factors = np.ones(array.shape[0 if transposed else -1])
        factors[slice(*columns)] = total
        factors = factors[:, np.newaxis] if transposed else factors
    scaled = np.empty(array.shape, array.dtype)
    with np.errstate(over="ignore"):  # what overflows is not used
        np.multiply(array, factors, out=scaled, dtype=np.float64, casting="unsafe")
    return scaled


def _merge(rewriter: Rewriter, attention: Attention, scalings: list[_Scaling], total: float) -> bool:
    """One Mul of q by the whole factor in place of all `scalings`."""
    first, *others = scalings
    query = attention.operands[0]
    if query.dtype is None:
        return rewriter.refuse("the element type of the scores is not known", attention.softmax)
    for scaling in others:
        rewriter.replace([scaling.node], [], {scaling.node.outputs[0]: scaling.data})
    data, output = first.data, first.node.outputs[0]
    factor = rewriter.constant_value(scope_of(first.node), np.asarray(total, dtype=query.dtype.numpy()), "scale")
    multiply = rewriter.node("Mul", [data, factor], like=output)
    return rewriter.replace([first.node], [multiply], {output: multiply.outputs[0]})
