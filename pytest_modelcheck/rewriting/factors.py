"""A value as ``coefficient * a**i * b**j * ...``, in whatever order Mul, Div, Pow, Sqrt and Reciprocal built it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.rewriting.matching import keeps_rank, produced_by, scalar

FACTORING = ("Div", "Mul", "Pow", "Reciprocal", "Sqrt")
"""The operators that are looked into."""

_POWERS = frozenset({-0.5, 0.5, 2.0, 3.0})
_MAX_NODES = 8
"""Products of more operators than this are no formula that a rule looks for."""


@dataclass(frozen=True, slots=True)
class Factors:
    """``coefficient * product(value ** power)``, built by `nodes`; `parts` are its values, whole ones before theirs."""

    coefficient: float
    powers: dict[ir.Value, float]
    nodes: tuple[ir.Node, ...]
    parts: dict[ir.Value, None]


def factored(value: ir.Value, stop: frozenset[ir.Value], budget: int = _MAX_NODES) -> Factors:
    """Read `value` as a product; values in `stop` are factors even where a Mul made them."""
    node = None if value in stop or budget <= 0 else produced_by(value, *FACTORING)
    scaled = None if node is None else _scaled(node)
    if node is None or scaled is None:
        return Factors(1.0, {value: 1.0}, (), {value: None})
    number, bases = scaled
    coefficient = number
    powers: dict[ir.Value, float] = {}
    nodes: tuple[ir.Node, ...] = ()
    parts: dict[ir.Value, None] = {value: None}
    for base, power in bases:
        # The root of a product is not the product of the roots where two factors are negative.
        factors = factored(base, stop, budget - 1 - len(nodes) if power.is_integer() else 0)
        coefficient *= factors.coefficient**power
        for part, count in factors.powers.items():
            powers[part] = powers.get(part, 0.0) + count * power
        nodes = tuple(dict.fromkeys((*nodes, *factors.nodes)))
        parts |= factors.parts
    return Factors(coefficient, powers, (*nodes, node), parts)


def _scaled(node: ir.Node) -> tuple[float, list[tuple[ir.Value, float]]] | None:
    """`node` as a number times powers of its inputs; None where it is not such a product."""
    left, right = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if left is None:
        return None
    if node.op_type in ("Sqrt", "Reciprocal"):
        return 1.0, [(left, 0.5 if node.op_type == "Sqrt" else -1.0)]
    if right is None:
        return None
    if node.op_type == "Pow":
        exponent = scalar(right)
        return (1.0, [(left, exponent)]) if exponent in _POWERS and keeps_rank(right, left) else None
    number = scalar(right)
    if number is not None and number != 0 and keeps_rank(right, left):
        return (number if node.op_type == "Mul" else 1 / number), [(left, 1.0)]
    number = scalar(left)
    if number is not None and keeps_rank(left, right):
        return number, [(right, 1.0 if node.op_type == "Mul" else -1.0)]
    return 1.0, [(left, 1.0), (right, 1.0 if node.op_type == "Mul" else -1.0)]
