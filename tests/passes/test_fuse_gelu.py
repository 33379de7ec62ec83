from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.fuse_gelu import FuseGelu
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseGelu()

ERF = """s = Div (x, sqrt2)
         e = Erf (s)
         a = Add (e, one)
         m = Mul (x, a)
         y = Mul (m, half)"""
ERF_HALF_FIRST = """h = Mul (half, x)
         s = Mul (x, inverse)
         e = Erf (s)
         a = Add (one, e)
         y = Mul (a, h)"""
ERF_DIVIDED = """s = Mul (inverse, x)
         e = Erf (s)
         a = Add (one, e)
         b = Div (a, two)
         y = Mul (x, b)"""
TANH = """c = Pow (x, three)
         k = Mul (c, cubic)
         i = Add (x, k)
         s = Mul (i, outer)
         t = Tanh (s)
         a = Add (t, one)
         h = Mul (x, half)
         y = Mul (h, a)"""
TANH_MULTIPLIED = """q = Mul (x, x)
         c = Mul (q, x)
         k = Mul (cubic, c)
         i = Add (k, x)
         s = Mul (outer, i)
         t = Tanh (s)
         a = Add (one, t)
         m = Mul (a, x)
         y = Mul (half, m)"""
TANH_FACTORED = """q = Mul (x, x)
         k = Mul (cubic, q)
         i = Add (one, k)
         j = Mul (x, i)
         s = Mul (outer, j)
         t = Tanh (s)
         a = Add (one, t)
         m = Mul (a, x)
         y = Mul (half, m)"""

SILU = "s = Sigmoid (x)\n y = Mul (s, x)"
QUICK = "m = Mul (half, x)\n s = Sigmoid (m)\n y = Mul (x, s)"


def gelu(
    body: str, *, opset: int = 20, x: str = "float[2,n,5]", outputs: str = "float[a,b,c] y", **changed: float
) -> onnx.ModelProto:
    numbers = {
        "one": 1.0,
        "two": 2.0,
        "three": 3.0,
        "half": 0.5,
        "sqrt2": math.sqrt(2),
        "inverse": math.sqrt(0.5),
        "outer": math.sqrt(2 / math.pi),
        "cubic": 0.044715,
    } | changed
    used = {name: np.float32(number).reshape(()) for name, number in numbers.items() if name in body}
    return make(f'<ir_version: 10, opset_import: ["" : {opset}]> g ({x} x) => ({outputs}) {{ {body} }}', **used)


@pytest.mark.parametrize("body", [ERF, ERF_HALF_FIRST, ERF_DIVIDED, TANH, TANH_MULTIPLIED, TANH_FACTORED])
def test_every_association_of_the_formula_becomes_gelu(body: str) -> None:
    assert fires(PASS, gelu(body)) == {"Gelu": 1}


@pytest.mark.parametrize("body", [ERF, TANH])
def test_a_branch_of_an_if_is_fused_too(body: str) -> None:
    assert fires(PASS, in_subgraph(gelu(body))) == {"Gelu": 2, "If": 1}


def test_x_that_is_itself_a_product_is_found() -> None:
    assert fires(
        PASS, gelu(ERF.replace("s = Div (x", "x2 = Mul (x, x)\n s = Div (x2").replace("(x, a)", "(x2, a)"))
    ) == {
        "Gelu": 1,
        "Mul": 1,
    }


def test_inside_a_function_the_element_type_is_that_of_its_call() -> None:
    assert fires(PASS, in_function(gelu(ERF))) == {"Gelu": 1, "test.local:Body": 1}


def test_below_opset_20_the_portable_target_is_refused() -> None:
    assert refuses(PASS, gelu(ERF, opset=19)) == {"Gelu needs opset 20, the model imports 19"}


def test_below_opset_20_target_opset23_raises_the_opset() -> None:
    assert fires(PASS, gelu(ERF, opset=14), target="opset23") == {"Gelu": 1}


def test_an_opset_that_cannot_be_raised_is_refused() -> None:
    body = ERF.replace("y = Mul (m, half)", "g = Mul (m, half)\n b, c = Split <axis = 2> (g)\n y = Add (b, c)")

    reason = "opset 23 would change Split: its semantics differ there"
    assert refuses(PASS, gelu(body, opset=14, x="float[2,n,6]"), target="opset23") == {reason}


@pytest.mark.parametrize(("body", "op"), [(ERF, "Gelu"), (TANH, "FastGelu")])
def test_below_opset_20_onnxruntime_has_its_own(body: str, op: str) -> None:
    assert fires(PASS, gelu(body, opset=14), target="onnxruntime") == {f"com.microsoft:{op}": 1}


@pytest.mark.parametrize("body", [SILU, QUICK])
def test_a_silu_becomes_quickgelu_for_onnxruntime(body: str) -> None:
    assert fires(PASS, gelu(body), target="onnxruntime") == {"com.microsoft:QuickGelu": 1}
    assert fires(PASS, in_subgraph(gelu(body)), target="onnxruntime") == {"com.microsoft:QuickGelu": 2, "If": 1}


@pytest.mark.parametrize("target", ["portable", "opset23"])
def test_a_silu_stays_for_targets_that_have_no_operator(target: Any) -> None:
    ignores(PASS, gelu(SILU), target=target)


def test_a_sigmoid_of_something_else_is_no_silu() -> None:
    ignores(PASS, gelu("n = Neg (x)\n s = Sigmoid (n)\n y = Mul (s, x)"), target="onnxruntime")


def test_a_silu_in_double_is_refused() -> None:
    reason = "x is not known to be float32, which QuickGelu needs"
    model = gelu(SILU, x="double[2,n,5]", outputs="double[a,b,c] y")
    assert refuses(PASS, model, target="onnxruntime") == {reason}


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (ERF, {"sqrt2": 1.4143}),
        (ERF, {"half": 0.51}),
        (ERF, {"one": 1.001}),
        (TANH, {"cubic": 0.0448}),
        (TANH, {"outer": 0.8}),
        (TANH, {"three": 2.0}),
    ],
)
def test_other_numbers_are_no_gelu(body: str, changed: dict[str, float]) -> None:
    ignores(PASS, gelu(body, **changed))


def test_an_inner_value_that_is_read_elsewhere_is_refused() -> None:
    model = gelu(ERF + "\n z = Neg (s)", outputs="float[a,b,c] y, float[a,b,c] z")

    assert refuses(PASS, model) == {"a value inside the GELU is read by something else"}


def test_an_inner_value_that_is_a_graph_output_is_refused() -> None:
    model = gelu(ERF, outputs="float[a,b,c] y, float[a,b,c] s")

    assert refuses(PASS, model) == {"a value inside the GELU is read by something else"}


CASES = (
    *(
        RuleCase(
            pass_=PASS,
            rule=rule,
            fires=gelu(body),
            counts={"Gelu": 1},
            refused=gelu(body + f"\n z = Neg ({inner})", outputs="float[a,b,c] y, float[a,b,c] z"),
            reason="a value inside the GELU is read by something else",
        )
        for rule, body, inner in (("Erf", ERF, "s"), ("Tanh", TANH, "i"))
    ),
    RuleCase(
        pass_=PASS,
        rule="Sigmoid",
        fires=gelu(SILU),
        counts={"com.microsoft:QuickGelu": 1},
        target="onnxruntime",
        refused=gelu(SILU, outputs="float[a,b,c] y, float[a,b,c] s"),
        reason="a value inside the SiLU is read by something else",
    ),
)
