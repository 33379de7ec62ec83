"""``fuse_gelu``: written-out GELUs become one operator.

1. ``c * x * (1 + Erf(x / sqrt(2)))`` with c = 0.5, the factors multiplied in any order -> ``Gelu(x)``.
2. ``c * x * (1 + Tanh(sqrt(2/pi) * (x + 0.044715 * x**3)))`` -> ``Gelu(x, approximate="tanh")``.

``Gelu`` is standard from opset 20 on. Below it, the targets ``opset23`` and ``tflite`` (which has GELU but no ERF)
raise the opset where they can, ``onnxruntime`` uses com.microsoft ``Gelu`` and ``FastGelu``, and ``portable`` refuses.
Products are compared as monomials, so that no particular order or association of Mul, Div and Pow is assumed.
Source: Hendrycks & Gimpel, arXiv:1606.08415; https://onnx.ai/onnx/operators/onnx__Gelu.html
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from pytest_modelcheck.graph.readers import read_outside
from pytest_modelcheck.rewriting.matching import FLOATS, is_scalar, only_reader, other_input, produced_by, rounding_of
from pytest_modelcheck.rewriting.monomials import monomial
from pytest_modelcheck.rewriting.opset_upgrade import raise_opset
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter

_GELU_OPSET = 20


@dataclass(frozen=True)
class FuseGelu(Pass):
    name: ClassVar[str] = "fuse_gelu"
    rules: ClassVar[tuple[str, ...]] = ("Erf", "Tanh")

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Erf", "Tanh"):
            rewriter.begin_rule(node.op_type)
            if (match := _match(node)) is not None:
                _try_fuse(rewriter, match)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Match:
    """A written-out GELU: `x` in, `last` out, through `nodes` (in graph order, `last` at the end)."""

    x: ir.Value
    last: ir.Node
    nodes: list[ir.Node]
    approximate: str
    shared: ir.Value | None
    """A value inside that something else reads too, so that its node would stay."""


def _match(node: ir.Node) -> _Match | None:
    inner = node.inputs[0]
    plus_one = only_reader(node.outputs[0], "Add")
    if inner is None or plus_one is None or not is_scalar(other_input(plus_one, node.outputs[0]), 1.0):
        return None
    tolerance = rounding_of(inner.dtype)
    argument = _erf_argument(inner, tolerance) if node.op_type == "Erf" else _tanh_argument(inner, tolerance)
    if argument is None:
        return None
    x, inside = argument
    bracket = plus_one.outputs[0]
    top: ir.Node = plus_one
    while (reader := only_reader(top.outputs[0], "Mul", "Div")) is not None:
        top = reader
        whole = monomial(top.outputs[0], stop=(x, bracket))
        if whole.powers == {x: 1, bracket: 1} and math.isclose(whole.coefficient, 0.5, rel_tol=tolerance):
            nodes = list(dict.fromkeys([*inside, node, plus_one, *whole.nodes]))
            nodes = [*(n for n in nodes if n is not top), top]
            return _Match(
                x=x,
                last=top,
                nodes=nodes,
                approximate="none" if node.op_type == "Erf" else "tanh",
                shared=_shared_inside(nodes, top),
            )
    return None


def _erf_argument(inner: ir.Value, tolerance: float) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """x of ``x / sqrt(2)``."""
    scaling = produced_by(inner, "Mul", "Div")
    for x in scaling.inputs if scaling is not None else ():
        scaled = None if x is None else monomial(inner, stop=(x,))
        if x is None or scaled is None or scaled.powers != {x: 1}:
            continue
        if math.isclose(scaled.coefficient, math.sqrt(0.5), rel_tol=tolerance):
            return x, scaled.nodes
    return None


def _tanh_argument(inner: ir.Value, tolerance: float) -> tuple[ir.Value, tuple[ir.Node, ...]] | None:
    """x of ``sqrt(2/pi) * (x + 0.044715 * x**3)``, also of ``sqrt(2/pi) * x * (1 + 0.044715 * x**2)``."""
    outer = monomial(inner)
    if not math.isclose(outer.coefficient, math.sqrt(2 / math.pi), rel_tol=tolerance):
        return None
    for factor, power in outer.powers.items():
        addition = produced_by(factor, "Add")
        if addition is None or power != 1:
            continue
        rest = {value: count for value, count in outer.powers.items() if value is not factor}
        for linear, cubic in (addition.inputs, addition.inputs[::-1]):
            if linear is None or cubic is None:
                continue
            if not rest and (found := _cubic(cubic, linear, 3, tolerance)) is not None:
                return linear, (*found, addition, *outer.nodes)
            if len(rest) == 1 and set(rest.values()) == {1} and is_scalar(linear, 1.0):
                (x,) = rest
                if (found := _cubic(cubic, x, 2, tolerance)) is not None:
                    return x, (*found, addition, *outer.nodes)
    return None


def _cubic(value: ir.Value, x: ir.Value, power: int, tolerance: float) -> tuple[ir.Node, ...] | None:
    """The nodes of ``0.044715 * x**power``, None where `value` is not that."""
    term = monomial(value, stop=(x,))
    if term.powers != {x: power} or not math.isclose(term.coefficient, 0.044715, rel_tol=tolerance):
        return None
    return term.nodes


def _shared_inside(nodes: list[ir.Node], last: ir.Node) -> ir.Value | None:
    inside = set(nodes)
    for node in nodes:
        for output in node.outputs:
            if node is not last and (output.is_graph_output() or read_outside(output, inside)):
                return output
    return None


def _try_fuse(rewriter: Rewriter, match: _Match) -> bool:
    if match.x.dtype not in FLOATS:
        return rewriter.refuse("the element type is not a known float type", match.last)
    if match.shared is not None:
        return rewriter.refuse("a value inside the GELU is read by something else", match.last)
    attributes: dict[str, Any] = {}
    raised = {"opset23": 23, "tflite": _GELU_OPSET}.get(rewriter.target)
    if raised is not None and rewriter.opset() < _GELU_OPSET and (reason := raise_opset(rewriter, raised)):
        return rewriter.refuse(reason, match.last)
    op_type, domain = "Gelu", ""
    if rewriter.opset() >= _GELU_OPSET:
        if match.approximate == "tanh":
            attributes["approximate"] = "tanh"
    elif rewriter.target == "onnxruntime" and match.x.dtype == ir.DataType.FLOAT:
        op_type, domain = ("Gelu" if match.approximate == "none" else "FastGelu"), "com.microsoft"
        rewriter.import_domain(domain, 1)
    else:
        return rewriter.refuse(f"Gelu needs opset {_GELU_OPSET}, the model imports {rewriter.opset()}", match.last)
    output = match.last.outputs[0]
    fused = rewriter.node(op_type, [match.x], attributes, domain=domain, like=output)
    return rewriter.replace(match.nodes, [fused], {output: fused.outputs[0]})
