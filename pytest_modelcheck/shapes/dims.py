"""Dimensions as integers or integer polynomials, so that equality can be decided: ``seq * 12`` equals ``12 * seq``.

The atoms of a polynomial are names of dimensions (``batch``), of unknown elements of integer tensors, and canonical
texts of operations that are no polynomial (``min(512,seq)``). Two dimensions are equal only if their polynomials are.
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Callable, Container, Iterable, Mapping
from functools import lru_cache, reduce

Monomial = tuple[str, ...]
"""A product of atoms, sorted; the empty tuple is the number one."""

UNKNOWN_SIGN = "?"
"""First character of an atom that may be negative. Every other atom is the size of an axis: zero or more."""

MAY_BE_EMPTY = "~"
"""First character of an atom that may be 0. Every other one is named by an input, and taken to be 1 or more."""


_MAX_TERMS = 256
"""Polynomials of more terms are not written out: squares of a sum of five sizes would have millions after five of them,
and a Concat in each step of a loop would have as many as steps."""

_MAX_TEXT = 256
"""Longer operands of an operation are not written out: each step of ``s = s // 2 + s // 3`` doubles them."""


class Poly:
    """A polynomial over atoms with integer coefficients that is not a plain number. Immutable."""

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: Mapping[Monomial, int]) -> None:
        self.terms: tuple[tuple[Monomial, int], ...] = tuple(sorted(terms.items()))
        self._hash = hash(self.terms)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and self.terms == other.terms

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        parts = ("*".join([*([str(c)] if c != 1 or not m else []), *m]) for m, c in self.terms)
        return "+".join(parts)


Dim = int | Poly
"""The size of an axis, or an element of an integer tensor."""


def atom(name: str) -> Poly:
    """The polynomial that is just `name`."""
    return Poly({(name,): 1})


def _terms(dim: Dim) -> Iterable[tuple[Monomial, int]]:
    return (((), dim),) if isinstance(dim, int) else dim.terms


def _made(terms: Mapping[Monomial, int]) -> Dim:
    kept = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
    if not kept:
        return 0
    if len(kept) == 1 and () in kept:
        return kept[()]
    made = Poly(kept)
    return made if len(kept) <= _MAX_TERMS else _operation("sum", (made,))


def add(*summands: Dim) -> Dim:
    """Their sum; 0 for none."""
    total: dict[Monomial, int] = {}
    for dim in summands:
        for monomial, coefficient in _terms(dim):
            total[monomial] = total.get(monomial, 0) + coefficient
    return _made(total)


def subtract(left: Dim, right: Dim) -> Dim:
    """left - right."""
    return add(left, multiply(right, -1))


def multiply(left: Dim, right: Dim) -> Dim:
    """left * right."""
    if isinstance(left, int) and isinstance(right, int):
        return left * right
    if len(tuple(_terms(left))) * len(tuple(_terms(right))) > _MAX_TERMS:
        return _operation("product", sorted((left, right), key=repr))
    total: dict[Monomial, int] = {}
    for a, x in _terms(left):
        for b, y in _terms(right):
            monomial = tuple(sorted(a + b))
            total[monomial] = total.get(monomial, 0) + x * y
    return _made(total)


def product(dims: Iterable[Dim]) -> Dim:
    """The product of all `dims`; 1 for none."""
    one: Dim = 1
    return reduce(multiply, dims, one)


def are_numbers(dims: Iterable[object]) -> bool:
    """Whether all `dims` are numbers."""
    return all(isinstance(dim, int) for dim in dims)


def static_sizes(dims: Iterable[Dim]) -> list[int | None]:
    """`dims` as a shape can be declared: None for a dimension that is not static."""
    return [dim if isinstance(dim, int) else None for dim in dims]


def divide_exactly(dividend: Dim, divisor: Dim) -> Dim | None:
    """The quotient where the division leaves no rest for any value of the atoms; None where that is not certain."""
    if isinstance(dividend, int) and isinstance(divisor, int):
        return dividend // divisor if divisor and dividend % divisor == 0 else None
    terms = tuple(_terms(divisor))
    if len(terms) != 1:
        return 1 if dividend == divisor else None
    (by, factor), quotient = terms[0], {}
    for monomial, coefficient in _terms(dividend):
        rest = list(monomial)
        for name in by:
            if name not in rest:
                return None
            rest.remove(name)
        if coefficient % factor:
            return None
        quotient[tuple(rest)] = coefficient // factor
    return _made(quotient)


def is_nonnegative(dim: Dim) -> bool:
    """Whether `dim` is certainly zero or more."""
    return all(c >= 0 and not any(name.startswith(UNKNOWN_SIGN) for name in m) for m, c in _terms(dim))


def is_positive(dim: Dim) -> bool:
    """Whether `dim` is certainly one or more, as every size is that an input names."""
    rows = [c > 0 and not any(name.startswith(MAY_BE_EMPTY) for name in m) for m, c in _terms(dim)]
    return is_nonnegative(dim) and any(rows)


def least(dim: Dim) -> int:
    """A size with each named axis taken as 1: what it is at least, unless it is 0; 1 where nothing is known."""
    return max(1, sum(c for _, c in _terms(dim))) if is_nonnegative(dim) else 1


def truncated_quotient(dividend: Dim, divisor: Dim) -> Dim:
    """ONNX's integer ``Div``: rounded towards zero."""
    exact = divide_exactly(dividend, divisor) if divisor != 0 else None
    if exact is not None:
        return exact
    if isinstance(dividend, int) and isinstance(divisor, int) and divisor and abs(dividend) < 2**52:
        return math.trunc(dividend / divisor)
    return _operation("div", (dividend, divisor))


def minimum(left: Dim, right: Dim) -> Dim:
    """min(left, right)."""
    if _is_at_least(right, left):
        return left
    return right if _is_at_least(left, right) else _operation("min", sorted((left, right), key=repr))


def maximum(left: Dim, right: Dim) -> Dim:
    """max(left, right)."""
    if _is_at_least(left, right):
        return left
    return right if _is_at_least(right, left) else _operation("max", sorted((left, right), key=repr))


def _is_at_least(dim: Dim, bound: Dim) -> bool:
    """Whether `dim` is certainly `bound` or more."""
    if not isinstance(bound, int) or isinstance(dim, int):
        return dim == bound or (isinstance(bound, int) and isinstance(dim, int) and dim >= bound)
    return (bound <= 0 and is_nonnegative(dim)) or (bound <= 1 and is_positive(dim))


def remainder(dividend: Dim, divisor: Dim) -> Dim:
    """ONNX's integer ``Mod`` (sign of the divisor)."""
    if isinstance(dividend, int) and isinstance(divisor, int) and divisor:
        return dividend % divisor
    return _operation("mod", (dividend, divisor))


def _operation(name: str, operands: Iterable[Dim]) -> Poly:
    operands = tuple(operands)
    positive = {"min": all, "max": any, "product": all, "sum": all}.get(name)
    sign = _sign(operands, positive is not None and positive(map(is_positive, operands)))
    text = ",".join(map(repr, operands))
    if len(text) > _MAX_TEXT:
        return atom(f"{sign}{name}#{hashlib.sha256(text.encode()).hexdigest()[:16]}")
    return atom(f"{sign}{name}({text})")


def _sign(operands: Iterable[Dim], positive: bool) -> str:
    if not all(map(is_nonnegative, operands)):
        return UNKNOWN_SIGN
    return "" if positive else MAY_BE_EMPTY


def names(dim: Dim) -> Iterable[str]:
    """The atoms of `dim`."""
    return (name for monomial, _ in _terms(dim) for name in monomial)


def with_unnamed(dim: Dim, named: Container[str]) -> Dim:
    """`dim`, every atom that is none of `named` marked as one that may be 0."""
    if isinstance(dim, int) or all(name in named for name in names(dim)):
        return dim
    return _made({tuple(sorted(n if n in named else MAY_BE_EMPTY + n for n in m)): c for m, c in dim.terms})


@lru_cache(maxsize=4096)
def parse(name: str) -> Dim:
    """A dimension's name as a polynomial: ``"batch"`` is an atom, ``"2*seq + 1"`` is read."""
    try:
        read = _read(ast.parse(name, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError):
        read = None
    return atom(name) if read is None else read


def _read(tree: ast.expr) -> Dim | None:
    match tree:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return number
        case ast.Name(id=name):
            return atom(name)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() as operator, right=right):
            a, b = _read(left), _read(right)
            if a is None or b is None:
                return None
            apply: dict[type[ast.operator], Callable[..., Dim]]
            apply = {ast.Add: add, ast.Sub: subtract, ast.Mult: multiply}
            return apply[type(operator)](a, b)
        case _:
            return None
