"""The formula of every rule is, over the real numbers, what the operator that replaces it is defined to compute."""

from __future__ import annotations

import importlib
import itertools
import math
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest
import sympy

import pytest_modelcheck.passes
from pytest_modelcheck.rewriting.formulas import AnyOf, Num, Op, Pattern, Product, Scalar, Var
from pytest_modelcheck.rewriting.rules import Rule

LENGTH = 3
"""Of the normalized axis: enough for the mean of the values to be none of them."""

Vector = tuple[Any, ...]

EXACT = {
    math.sqrt(0.5): sympy.sqrt(sympy.Rational(1, 2)),
    math.sqrt(2 / math.pi): sympy.sqrt(2 / sympy.pi),
    0.044715: sympy.Rational(44715, 10**6),
}

ELEMENTWISE = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Erf": sympy.erf,
    "Tanh": sympy.tanh,
    "Sigmoid": lambda a: 1 / (1 + sympy.exp(-a)),
}


def symbols(name: str) -> Vector:
    return sympy.symbols(f"{name}:{LENGTH}", real=True)


def number(value: float) -> Any:
    return EXACT.get(value, sympy.nsimplify(value, rational=True))


def meanings(pattern: Pattern) -> Iterator[Vector]:
    """What `pattern` computes, element by element; of several formulas, each."""
    if isinstance(pattern, Var):
        yield from [symbols(pattern.name)] if pattern.formula is None else meanings(pattern.formula)
    elif isinstance(pattern, Num):
        yield (number(pattern.number),) * LENGTH
    elif isinstance(pattern, Scalar):
        yield (sympy.Symbol(pattern.name, positive=True),) * LENGTH
    elif isinstance(pattern, AnyOf):
        for one in pattern.patterns:
            yield from meanings(one)
    elif isinstance(pattern, Product):
        for bases in itertools.product(*(meanings(base) for base in pattern.factors)):
            powers = [number(power) for power in pattern.factors.values()]
            yield tuple(
                number(pattern.coefficient) * sympy.prod([b[i] ** p for b, p in zip(bases, powers, strict=True)])
                for i in range(LENGTH)
            )
    elif isinstance(pattern, Op):
        for inputs in itertools.product(*(meanings(value) for value in pattern.inputs)):
            yield of_operator(pattern.op_type, inputs)
    else:
        raise TypeError(f"what is a {type(pattern).__name__} over the reals?")


def of_operator(op_type: str, inputs: tuple[Vector, ...]) -> Vector:
    if op_type == "ReduceMean":
        return (sum(inputs[0]) / LENGTH,) * LENGTH
    return tuple(ELEMENTWISE[op_type](*elements) for elements in zip(*inputs, strict=True))


def gelu(x: Any) -> Any:
    return x / 2 * (1 + sympy.erf(x / sympy.sqrt(2)))


def gelu_by_tanh(x: Any) -> Any:
    return x / 2 * (1 + sympy.tanh(sympy.sqrt(2 / sympy.pi) * (x + sympy.Rational(44715, 10**6) * x**3)))


def silu(x: Any, alpha: Any) -> Any:
    return x / (1 + sympy.exp(-alpha * x))


def normalizations(*, centered: bool) -> Iterator[Vector]:
    """LayerNormalization or RMSNormalization by its definition: with and without scale and bias."""
    x, scale, bias, epsilon = symbols("x"), symbols("scale"), symbols("bias"), sympy.Symbol("epsilon", positive=True)
    mean = sum(x) / LENGTH if centered else 0
    variance = sum((element - mean) ** 2 for element in x) / LENGTH
    plain = [(element - mean) / sympy.sqrt(variance + epsilon) for element in x]
    yield tuple(plain)
    yield tuple(p * s for p, s in zip(plain, scale, strict=True))
    if centered:
        yield tuple(p + b for p, b in zip(plain, bias, strict=True))
        yield tuple(p * s + b for p, s, b in zip(plain, scale, bias, strict=True))


DEFINITIONS = {
    ("fuse_gelu", "Erf"): [tuple(map(gelu, symbols("x")))],
    ("fuse_gelu", "Tanh"): [tuple(map(gelu_by_tanh, symbols("x")))],
    ("fuse_gelu", "Sigmoid"): [
        tuple(silu(x, alpha) for x in symbols("x")) for alpha in (1, sympy.Symbol("alpha", positive=True))
    ],
    ("fuse_layernorm", "LayerNormalization"): list(normalizations(centered=True)),
    ("fuse_layernorm", "RMSNormalization"): list(normalizations(centered=False)),
}

NOT_ELEMENTWISE = {"fuse_conv_batchnorm", "fuse_conv_relu"}
"""Their formulas say which operators follow each other; what is made of the weights is compared by running it."""

RULES = {
    (info.name, rule.name): rule
    for info in pkgutil.iter_modules(pytest_modelcheck.passes.__path__)
    for rule in getattr(importlib.import_module(f"pytest_modelcheck.passes.{info.name}"), "RULES", ())
    if info.name not in NOT_ELEMENTWISE
}


def unproven(formula: Pattern, definitions: list[Vector]) -> list[Vector]:
    """The meanings of `formula` that are none of `definitions`."""
    return [
        found
        for found in meanings(formula)
        if not any(
            all(sympy.simplify(a - b) == 0 for a, b in zip(found, wanted, strict=True)) for wanted in definitions
        )
    ]


@pytest.mark.parametrize("name", RULES, ids="-".join)
def test_the_formula_of_a_rule_is_the_definition_of_its_operator(name: tuple[str, str]) -> None:
    rule: Rule = RULES[name]
    assert unproven(rule.formula, DEFINITIONS[name]) == []


def test_a_wrong_number_is_not_proven() -> None:
    x, one = Var("x"), Num(1.0)
    wrong = Product(0.6, {x: 1, one + Op("Erf", Product(math.sqrt(0.5), {x: 1})): 1})
    assert len(unproven(wrong, DEFINITIONS["fuse_gelu", "Erf"])) == 1


def test_every_rule_can_be_read() -> None:
    assert str(RULES["fuse_gelu", "Erf"].formula) == "0.5*x*(1.0 + Erf(0.707107*x))"
    assert str(RULES["fuse_layernorm", "RMSNormalization"].formula) == (
        "Mul(x*(ReduceMean(x**2) + epsilon)**-0.5, scale) | x*(ReduceMean(x**2) + epsilon)**-0.5"
    )
