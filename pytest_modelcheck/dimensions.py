"""Sizes of dynamic axes that follow from other sizes: ``"past + sequence"``, ``"2 * height"``.

A dimension is a name (``"batch"``) or an expression of names and whole numbers with ``+ - * //`` and parentheses.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping

from pytest_modelcheck.errors import ModelCaseError

Axes = Mapping[str, Mapping[int, str]]
"""Input name -> {axis: dimension}."""

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}


def names_in(dimension: str) -> tuple[str, ...]:
    """The names of a dimension, each once, in order.

    Raises:
        ModelCaseError: if it is neither a name nor an expression as above.

    >>> names_in("past + 2 * (sequence - 1)")
    ('past', 'sequence')
    """
    return tuple(dict.fromkeys(node.id for node in _nodes(_parsed(dimension)) if isinstance(node, ast.Name)))


def size_of(dimension: str, sizes: Mapping[str, int]) -> int:
    """The size of a dimension where its names have these sizes.

    Raises:
        ModelCaseError: as `names_in`, and for a division by zero.
        KeyError: for a name without a size.

    >>> size_of("past + sequence", {"past": 5, "sequence": 3})
    8
    """
    try:
        return _value(_parsed(dimension), sizes)
    except ZeroDivisionError as error:
        raise ModelCaseError(f"dimension {dimension!r}: {error}") from None


def check_axes(axes: Axes, option: str = "dynamic_axes") -> None:
    """Check that all dimensions can be read, and that every name of an expression is the dimension of some axis.

    Args:
        axes: What to check.
        option: What messages call it.

    Raises:
        ModelCaseError: naming the input, the axis and what is wrong with its dimension.
    """
    plain = {dimension for by_axis in axes.values() for dimension in by_axis.values() if is_name(dimension)}
    for input_name, by_axis in axes.items():
        for axis, dimension in by_axis.items():
            place = f"{option}, axis {axis!r} of {input_name!r}"
            try:
                names = names_in(dimension)
            except ModelCaseError as error:
                raise ModelCaseError(f"{place}: {error}") from None
            if unknown := [name for name in names if name not in plain]:
                known = ", ".join(sorted(plain)) or "none"
                raise ModelCaseError(
                    f"{place}: {dimension!r} uses {unknown[0]!r}, which no axis is named; named axes: {known}"
                )


def is_name(dimension: object) -> bool:
    """Whether a dimension is a name of its own, whose size can be chosen."""
    return isinstance(dimension, str) and dimension.isidentifier()


def _parsed(dimension: object) -> ast.expr:
    if isinstance(dimension, str):
        try:
            tree = ast.parse(dimension.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            tree = None
        if (
            tree is not None
            and all(_is_allowed(node) for node in _nodes(tree))
            and any(isinstance(node, ast.Name) for node in _nodes(tree))
        ):
            return tree
    raise ModelCaseError(
        f'dimension {dimension!r} cannot be read: write a name ("sequence") or an expression of names and whole '
        'numbers with + - * // ("past + sequence")'
    )


def _nodes(tree: ast.expr) -> Iterator[ast.expr]:
    yield tree
    if isinstance(tree, ast.BinOp):
        yield from _nodes(tree.left)
        yield from _nodes(tree.right)


def _is_allowed(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return type(node.op) in _OPERATORS
    return isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) is int)


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.Name):
        return sizes[node.id]
    assert isinstance(node, ast.Constant)
    return int(node.value)  # type: ignore[arg-type]
