"""``fuse_gelu``: written-out GELUs and SiLUs become one operator.

1. ``0.5 * x * (1 + Erf(x / sqrt(2)))`` -> ``Gelu(x)``.
2. ``0.5 * x * (1 + Tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))`` -> ``Gelu(x, approximate="tanh")``.
3. ``x * Sigmoid(alpha * x)`` -> com.microsoft ``QuickGelu(x)`` for target ``onnxruntime``, as its extended level does.

``Gelu`` is standard from opset 20 on. Below it, ``onnxruntime`` uses com.microsoft ``Gelu`` and ``FastGelu`` for
float32, and all targets but ``portable`` raise the opset where they can (``tflite`` has GELU but no ERF).
Source: Hendrycks & Gimpel, arXiv:1606.08415; https://onnx.ai/onnx/operators/onnx__Gelu.html
"""

from __future__ import annotations

import math

import onnx_ir as ir

from pytest_modelcheck.rewriting import AnyOf, Match, Num, Op, Pass, Product, Rewriter, Rule, Scalar, Var, apply
from pytest_modelcheck.rewriting.matching import FLOATS
from pytest_modelcheck.rewriting.opset_upgrade import reach_opset

_GELU_OPSET = 20
_SLOPE = math.sqrt(2 / math.pi)

_x, _one = Var("x"), Num(1.0)
_ERF = Op("Erf", Product(math.sqrt(0.5), {_x: 1}))
_CUBIC = Product(_SLOPE, {_x + Product(0.044715, {_x: 3}): 1})
_FACTORED_CUBIC = Product(_SLOPE, {_x: 1, _one + Product(0.044715, {_x: 2}): 1})
_TANH = Op("Tanh", AnyOf(_CUBIC, _FACTORED_CUBIC))


def _fits(rewriter: Rewriter, match: Match) -> str | None:
    return None if match.values["x"].dtype in FLOATS else "the element type is not a known float type"


def _makes(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    x, is_tanh = match.values["x"], "Tanh" in match.named
    if rewriter.target == "onnxruntime" and rewriter.opset() < _GELU_OPSET and x.dtype == ir.DataType.FLOAT:
        rewriter.import_domain("com.microsoft", 1)
        return [rewriter.node("FastGelu" if is_tanh else "Gelu", [x], domain="com.microsoft", like=match.result)]
    if (reason := reach_opset(rewriter, _GELU_OPSET, "Gelu")) is not None:
        return reason
    return [rewriter.node("Gelu", [x], {"approximate": "tanh"} if is_tanh else {}, like=match.result)]


def _makes_quick(rewriter: Rewriter, match: Match) -> list[ir.Node] | str:
    x = match.values["x"]
    if x.dtype != ir.DataType.FLOAT:
        return "x is not known to be float32, which QuickGelu needs"
    rewriter.import_domain("com.microsoft", 1)
    alpha = {"alpha": match.numbers.get("alpha", 1.0)}
    return [rewriter.node("QuickGelu", [x], alpha, domain="com.microsoft", like=match.result)]


_SIGMOID = Op("Sigmoid", AnyOf(Op("Mul", _x, Scalar("alpha")), _x))

RULES = (
    *(
        Rule(
            name=bracket.op_type,
            formula=Product(0.5, {_x: 1, _one + bracket: 1}),
            anchor=bracket,
            reach=4,
            called="GELU",
            fits=_fits,
            makes=_makes,
        )
        for bracket in (_ERF, _TANH)
    ),
    Rule(name="Sigmoid", formula=Op("Mul", _x, _SIGMOID), anchor=_SIGMOID, reach=1, called="SiLU", makes=_makes_quick),
)


class FuseGelu(Pass):
    name = "fuse_gelu"
    rules = tuple(rule.name for rule in RULES)

    def rewrite(self, rewriter: Rewriter) -> None:
        apply(rewriter, RULES if rewriter.target == "onnxruntime" else RULES[:-1])  # others have no operator for a SiLU
