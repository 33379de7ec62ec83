"""A value as ``coefficient * a**i * b**j * ...``, whatever the order in which Mul, Div and Pow built it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.rewriting.matching import FLOATS, keeps_rank, produced_by, scalar

_MAX_NODES = 8
"""Products longer than this are no formula that a pass looks for."""


@dataclass(frozen=True, slots=True)
class Monomial:
    """``coefficient * product(value ** power)``, built by `nodes` (in graph order)."""

    coefficient: float
    powers: Counter[ir.Value]
    nodes: tuple[ir.Node, ...]


def monomial(value: ir.Value, *, stop: Sequence[ir.Value] = ()) -> Monomial:
    """Read `value` as a monomial; values in `stop` are factors even where a Mul made them.

    Only scalar constants that do not raise the rank become coefficients. Integers stay factors: their Div rounds.
    """
    if value.dtype is not None and value.dtype not in FLOATS:
        return Monomial(1.0, Counter({value: 1}), ())
    return _read(value, frozenset(stop), _MAX_NODES)


def _read(value: ir.Value, stop: frozenset[ir.Value], budget: int) -> Monomial:
    leaf = Monomial(1.0, Counter({value: 1}), ())
    node = produced_by(value, "Mul", "Div", "Pow")
    if node is None or value in stop or budget <= 0:
        return leaf
    left, right = node.inputs
    if left is None or right is None:
        return leaf
    if node.op_type == "Pow":
        exponent = scalar(right)
        if exponent is None or exponent not in (2.0, 3.0) or not keeps_rank(right, left):
            return leaf
        base = _read(left, stop, budget - 1)
        times = int(exponent)
        powers = Counter({factor: count * times for factor, count in base.powers.items()})
        return Monomial(base.coefficient**times, powers, (*base.nodes, node))
    if node.op_type == "Div":
        number = scalar(right)
        if number is None or number == 0 or not keeps_rank(right, left):
            return leaf
        base = _read(left, stop, budget - 1)
        return Monomial(base.coefficient / number, base.powers, (*base.nodes, node))
    for constant, other in ((left, right), (right, left)):
        number = scalar(constant)
        if number is not None and keeps_rank(constant, other):
            base = _read(other, stop, budget - 1)
            return Monomial(base.coefficient * number, base.powers, (*base.nodes, node))
    first = _read(left, stop, budget - 1)
    second = _read(right, stop, budget - 1 - len(first.nodes))
    nodes = tuple(dict.fromkeys((*first.nodes, *second.nodes, node)))
    return Monomial(first.coefficient * second.coefficient, first.powers + second.powers, nodes)
