"""Equations of Einsum."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Equation:
    """The letters of each operand and of the output, ellipses written out."""

    terms: tuple[str, ...]
    output: str


def parse_equation(text: str, ranks: Sequence[int]) -> Equation | str:
    """Read an Einsum equation for operands of these ranks, or say why it cannot be expanded."""
    left, arrow, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.ascii_letters if letter not in text]
    dots = max([r - len(t.replace("...", "")) for t, r in zip(terms, ranks, strict=False) if "..." in t], default=0)
    if len(terms) != len(ranks) or dots < 0 or dots > len(spare):
        return "the equation does not fit its operands"
    hidden = "".join(spare[:dots])
    if not arrow:
        named = [letter for letter in left if letter.isalpha()]
        right = ("..." if "..." in left else "") + "".join(sorted(x for x in set(named) if named.count(x) == 1))
    written = []
    for term, dimensions in zip(terms, ranks, strict=True):
        width = dimensions - len(term.replace("...", ""))
        letters = term.replace("...", hidden[len(hidden) - width :] if width > 0 else "")
        if len(letters) != dimensions:
            return "the equation does not fit its operands"
        if len(set(letters)) != len(letters):
            return "a letter occurs twice in one term"
        written.append(letters)
    return Equation(tuple(written), right.replace("...", hidden))
