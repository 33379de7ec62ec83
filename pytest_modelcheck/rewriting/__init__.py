"""The rewriter through which every edit of a graph goes, and rules as formulas: what a pass is made of."""

from pytest_modelcheck.rewriting.formulas import AnyOf, Match, Num, Op, Pattern, Product, Scalar, Var, constant
from pytest_modelcheck.rewriting.pass_base import Pass, PassOutcome
from pytest_modelcheck.rewriting.rewriter import Rewriter, Scope
from pytest_modelcheck.rewriting.rules import Rule, apply

__all__ = [
    "AnyOf", "Match", "Num", "Op", "Pass", "PassOutcome", "Pattern", "Product", "Rewriter", "Rule", "Scalar", "Scope",
    "Var", "apply", "constant",
]  # fmt: skip
