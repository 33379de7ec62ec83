"""Rewrite rules as formulas: what a rule looks for is written down as what it computes.

    x, one = Var("x"), Num(1.0)
    ERF = Op("Erf", Product(math.sqrt(0.5), {x: 1}))
    GELU = Rule(name="Erf", formula=Product(0.5, {x: 1, one + ERF: 1}), anchor=ERF, fits=_fits, makes=_makes)

A `Product` is matched in any order and association of Mul, Div, Pow, Sqrt and Reciprocal, a sum and the commutative
operators in either order, a number by its value whatever its shape, type and place. `apply` does what every rule has
to do: it looks only around anchors, takes the largest match, refuses where a value inside is needed outside, and
collects the nodes that go. A rule adds its guards (`fits`, each with a reason) and what it puts in (`makes`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.rewriting.factors import FACTORING, factored
from pytest_modelcheck.rewriting.matching import FLOATS, is_scalar, keeps_rank, produced_by, rounding_of, scalar

_COMMUTATIVE = frozenset({"Add", "Mul"})


@dataclass(frozen=True, slots=True)
class Match:
    """What a formula was found as.

    Attributes:
        values: Variable -> the value that it is.
        named: Name of an `Op` -> the node that it is.
        numbers: Name of a `Scalar` -> its number.
        nodes: The nodes of the formula, each behind what it reads; the last one makes the result.
    """

    values: Mapping[str, ir.Value] = field(default_factory=dict)
    named: Mapping[str, ir.Node] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    nodes: tuple[ir.Node, ...] = ()

    @property
    def root(self) -> ir.Node:
        """The node that makes the result."""
        return self.nodes[-1]

    @property
    def result(self) -> ir.Value:
        """What the formula computes."""
        return self.root.outputs[0]

    def through(self, *nodes: ir.Node) -> Match:
        """This match, and `nodes` that read what it has so far."""
        return replace(self, nodes=tuple(dict.fromkeys((*(n for n in self.nodes if n not in nodes), *nodes))))


class Pattern:
    """A formula, or a part of one."""

    def __add__(self, other: Pattern) -> Pattern:
        return Op("Add", self, other)

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        """Every way in which `value` is this pattern, `match` having been found before."""
        raise NotImplementedError

    def operators(self) -> frozenset[str]:
        """The operators that can be part of it."""
        return frozenset()

    def possible(self, present: Set[str]) -> bool:
        """Whether a graph with these operators may hold it."""
        return True


class Var(Pattern):
    """A value, the same one wherever the variable appears.

    Args:
        name: Under which the match knows it.
        formula: What it has to be; None for anything.
        where: What else it has to be, given what was found before.
    """

    def __init__(
        self, name: str, formula: Pattern | None = None, *, where: Callable[[Match, ir.Value], bool] | None = None
    ) -> None:
        self.name = name
        self.formula = formula
        self.where = where

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        bound = match.values.get(self.name)
        if value is None or (bound is not None and bound is not value):
            return
        if bound is not None:
            yield match
            return
        for found in [match] if self.formula is None else self.formula.find(value, match):
            if self.where is None or self.where(found, value):
                yield replace(found, values={**found.values, self.name: value})

    def operators(self) -> frozenset[str]:
        return frozenset() if self.formula is None else self.formula.operators()

    def possible(self, present: Set[str]) -> bool:
        return self.formula is None or self.formula.possible(present)

    def __str__(self) -> str:
        return self.name if self.formula is None else str(self.formula)


def constant(match: Match, value: ir.Value) -> bool:
    """A condition for `Var`: the value is a constant."""
    return is_constant(value)


@dataclass(frozen=True, eq=False)
class Num(Pattern):
    """A constant with one element that is `number`, rounded to its own type."""

    number: float

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        if is_scalar(value, self.number):
            yield match

    def __str__(self) -> str:
        return repr(self.number)


@dataclass(frozen=True, eq=False)
class Scalar(Pattern):
    """A constant with one element, whatever its number."""

    name: str

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        if (number := scalar(value)) is not None:
            yield replace(match, numbers={**match.numbers, self.name: number})

    def __str__(self) -> str:
        return self.name


class Op(Pattern):
    """The first output of a standard operator.

    Args:
        op_type: Its name.
        inputs: Its first inputs; those of Add and Mul in either order. Further ones may be anything.
        name: Under which the match knows the node; the operator's own by default.
        where: What else the node has to be, given what was found before, its inputs among it.
    """

    def __init__(
        self, op_type: str, *inputs: Pattern, name: str = "", where: Callable[[Match, ir.Node], bool] | None = None
    ) -> None:
        self.op_type = op_type
        self.inputs = inputs
        self.name = name or op_type
        self.where = where

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        node = produced_by(value, self.op_type)
        if node is None or len(node.inputs) < len(self.inputs):
            return
        commutes = self.op_type in _COMMUTATIVE and len(self.inputs) == 2
        for operands in (node.inputs, node.inputs[::-1]) if commutes else (node.inputs,):
            if commutes and not _keep_rank(self.inputs, operands):
                continue
            for found in _find_all(self.inputs, operands, match):
                if self.where is None or self.where(found, node):
                    yield replace(found, named={**found.named, self.name: node}).through(node)

    def operators(self) -> frozenset[str]:
        return frozenset({self.op_type}).union(*(pattern.operators() for pattern in self.inputs))

    def possible(self, present: Set[str]) -> bool:
        return self.op_type in present and all(pattern.possible(present) for pattern in self.inputs)

    def __str__(self) -> str:
        if self.op_type in ("Add", "Sub"):
            return "(" + (" + " if self.op_type == "Add" else " - ").join(map(str, self.inputs)) + ")"
        return f"{self.op_type}({', '.join(map(str, self.inputs))})"


class AnyOf(Pattern):
    """One of several formulas, the first ones first."""

    def __init__(self, *patterns: Pattern) -> None:
        self.patterns = patterns

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        for pattern in self.patterns:
            yield from pattern.find(value, match)

    def operators(self) -> frozenset[str]:
        return frozenset().union(*(pattern.operators() for pattern in self.patterns))

    def possible(self, present: Set[str]) -> bool:
        return any(pattern.possible(present) for pattern in self.patterns)

    def __str__(self) -> str:
        return " | ".join(map(str, self.patterns))


class Product(Pattern):
    """``coefficient * a**i * b**j * ...``, whatever the order in which Mul, Div, Pow, Sqrt and Reciprocal built it.

    Only constants with one element that do not raise the rank are part of the coefficient. Integers are not looked
    into: their Div rounds.
    """

    def __init__(self, coefficient: float, factors: Mapping[Pattern, float]) -> None:
        self.coefficient = coefficient
        self.factors = factors
        self._ordered = sorted(factors, key=lambda pattern: isinstance(pattern, Var) and pattern.formula is None)

    def find(self, value: ir.Value | None, match: Match) -> Iterator[Match]:
        if value is None or (value.dtype is not None and value.dtype not in FLOATS):
            return
        tolerance = rounding_of(value.dtype)
        inside = factored(value, frozenset())
        for found, chosen in _choices(self._ordered, list(inside.parts), match):
            product = factored(value, frozenset(chosen))
            wanted: dict[ir.Value, float] = {}
            for part, pattern in zip(chosen, self._ordered, strict=True):
                wanted[part] = wanted.get(part, 0.0) + self.factors[pattern]
            if product.powers == wanted and math.isclose(product.coefficient, self.coefficient, rel_tol=tolerance):
                yield found.through(*product.nodes)

    def operators(self) -> frozenset[str]:
        return frozenset(FACTORING).union(*(pattern.operators() for pattern in self.factors))

    def possible(self, present: Set[str]) -> bool:
        return all(pattern.possible(present) for pattern in self.factors)

    def __str__(self) -> str:
        powers = [str(base) if power == 1 else f"{base}**{power:g}" for base, power in self.factors.items()]
        return "*".join([f"{self.coefficient:.6g}", *powers] if self.coefficient != 1 else powers)


def _choices(
    patterns: Sequence[Pattern], parts: Sequence[ir.Value], match: Match
) -> Iterator[tuple[Match, tuple[ir.Value, ...]]]:
    """Every choice of one of `parts` for each pattern; those that are formulas themselves come first."""
    if not patterns:
        yield match, ()
        return
    for part in parts:
        for found in patterns[0].find(part, match):
            for whole, chosen in _choices(patterns[1:], parts, found):
                yield whole, (part, *chosen)


def _find_all(patterns: Sequence[Pattern], values: Sequence[ir.Value | None], match: Match) -> Iterator[Match]:
    if not patterns:
        yield match
        return
    for found in patterns[0].find(values[0], match):
        yield from _find_all(patterns[1:], values[1:], found)


def _keep_rank(patterns: Sequence[Pattern], operands: Sequence[ir.Value | None]) -> bool:
    """Whether no number among `patterns` would raise the rank of what it is added to or multiplied by."""
    return all(
        constant is not None and other is not None and keeps_rank(constant, other)
        for pattern, constant, other in zip(patterns, operands, operands[::-1], strict=True)
        if isinstance(pattern, Num | Scalar) and scalar(constant) is not None
    )
