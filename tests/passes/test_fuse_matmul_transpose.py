from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_modelcheck.passes import passes_for
from pytest_modelcheck.passes.fuse_matmul_transpose import FuseMatmulTranspose
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseMatmulTranspose()
FUSED = "com.microsoft:FusedMatMul"
TURN = "Transpose <perm = [0, 2, 1]>"
RIGHT = f"t = {TURN} (b) y = MatMul (a, t)"
SCALED = "s = Div (a, half) y = MatMul (s, b)"


def product(body: str, *, a: str = "float[2,n,3]", b: str = "float[2,m,3]", y: str = "float[i,j,k] y") -> Any:
    dtype = np.float64 if a.startswith("double") else np.float32
    half = {"half": np.asarray(0.5, dtype)} if "half" in body else {}
    return make(f'<ir_version: 10, opset_import: ["" : 18]> g ({a} a, {b} b) => ({y}) {{ {body} }}', **half)


@pytest.mark.parametrize(
    ("made", "attributes"),
    [
        (product(RIGHT), {"transB": 1}),
        (product(f"t = {TURN} (a) y = MatMul (t, b)", b="float[2,n,4]"), {"transA": 1}),
        (product(f"t = {TURN} (a) u = {TURN} (b) y = MatMul (t, u)", b="float[2,4,n]"), {"transA": 1, "transB": 1}),
        (
            product("t = Transpose (b) y = MatMul (a, t)", a="float[n,3]", b="float[m,3]", y="float[i,j] y"),
            {"transB": 1},
        ),
        (product(f"t = {TURN} (b) y = MatMul (a, t)", a="float[2,2,n,3]", y="float[h,i,j,k] y"), {"transB": 1}),
        (product(SCALED, b="float[2,3,m]"), {"alpha": 2.0}),
        (product(f"s = Mul (half, b) t = {TURN} (s) y = MatMul (a, t)"), {"transB": 1, "alpha": 0.5}),
        (product(f"t = {TURN} (b) s = Mul (half, t) p = MatMul (a, s) y = Div (p, half)"), {"transB": 1, "alpha": 1.0}),
    ],
)
def test_what_turns_and_scales_goes_into_the_product(made: Any, attributes: dict[str, float]) -> None:
    assert fires(PASS, made, target="onnxruntime") == {FUSED: 1}
    (node,) = optimize(made, passes=[PASS], target="onnxruntime").graph.node
    assert {one.name: one.i or one.f for one in node.attribute} == attributes


@pytest.mark.parametrize("place", [in_subgraph, in_function])
@pytest.mark.parametrize("body", [RIGHT, SCALED.replace("y = MatMul (s, b)", f"t = {TURN} (b) y = MatMul (s, t)")])
def test_it_fires_inside_branches_and_functions(place: Any, body: str) -> None:
    assert fires(PASS, place(product(body)), target="onnxruntime")[FUSED] >= 1


def test_a_transpose_that_several_products_read_goes_with_the_last_of_them() -> None:
    made = product(f"t = {TURN} (b) p = MatMul (a, t) e = Exp (a) q = MatMul (e, t) y = Sub (p, q)")
    assert fires(PASS, made, target="onnxruntime") == {"Exp": 1, "Sub": 1, FUSED: 2}


@pytest.mark.parametrize("target", ["portable", "opset23"])
def test_no_other_target_has_it(target: Any) -> None:
    ignores(PASS, product(RIGHT), target=target)
    assert PASS not in passes_for(target)


def test_another_order_of_axes_is_no_candidate() -> None:
    ignores(PASS, product(RIGHT.replace("0, 2, 1", "1, 0, 2"), b="float[3,2,m]"), target="onnxruntime")


def test_a_division_by_the_operand_is_no_scaling() -> None:
    ignores(PASS, product("s = Div (half, a) y = MatMul (s, b)", b="float[2,3,m]"), target="onnxruntime")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (
            product(f"{RIGHT} u = Exp (t)", y="float[i,j,k] y, float[d,e,f] u"),
            "something else than products reads the Transpose",
        ),
        (product(RIGHT, y="float[i,j,k] y, float[2,3,m] t"), "something else than products reads the Transpose"),
        (
            product(f"{SCALED} u = Exp (s)", b="float[2,3,m]", y="float[i,j,k] y, float[d,e,f] u"),
            "something else than the product reads what is scaled",
        ),
        (
            product(RIGHT, a="double[2,n,3]", b="double[2,m,3]", y="double[i,j,k] y"),
            "the product is not known to be float32, which FusedMatMul needs",
        ),
        (product(RIGHT, a="float[3]", y="float[i,j] y"), "an operand is not known to be a matrix or several"),
    ],
)
def test_what_the_operator_cannot_take_in_is_refused(made: Any, reason: str) -> None:
    assert refuses(PASS, made, target="onnxruntime") == {reason}


def test_the_pipeline_makes_it_of_what_is_left_and_finds_nothing_in_a_second_run() -> None:
    once = optimize(product(RIGHT), target="onnxruntime")
    assert [node.op_type for node in once.graph.node] == ["FusedMatMul"]
    assert optimize(once, target="onnxruntime") == once


SHAPES = (
    "s = Shape (a) t = Transpose <perm = [1, 2, 0]> (a) u = Shape (t) c = Concat <axis = 0> (s, u) y = Expand (b, c)"
)
ELSEWHERE = SHAPES.replace("c = Concat", "e = Shape (t) c = Concat").replace("(s, u)", "(s, u, e)")


def shapes(body: str = SHAPES) -> Any:
    header = '<ir_version: 10, opset_import: ["" : 18]> g (float[k,n,3] a, float[1] b) => (float[c,d,e,f,g,h] y) '
    return make(header.replace("g,h", "g,h,i,j,l" if body == ELSEWHERE else "g,h") + "{" + body + "}")


def test_the_shape_of_what_is_turned_is_gathered_from_the_one_that_is_there() -> None:
    counts = {"Concat": 1, "Expand": 1, "Gather": 1, "Shape": 1}
    assert fires(PASS, shapes(), target="onnxruntime") == counts
    assert fires(PASS, in_subgraph(shapes()), target="onnxruntime")["Gather"] >= 1


def test_where_nothing_computes_the_other_shape_it_is_refused() -> None:
    made = shapes(SHAPES.replace("Shape (a)", "Shape (b)").replace("(s, u)", "(u, s, s, s)"))
    assert refuses(PASS, made, target="onnxruntime") == {"nothing computes the shape of what is turned"}


CASES = (
    *(
        RuleCase(
            pass_=PASS,
            rule=rule,
            fires=made,
            counts={FUSED: 1},
            refused=product(
                refused, b="float[2,m,3]" if rule == "transpose" else "float[2,3,m]", y="float[i,j,k] y, float[d,e,f] u"
            ),
            reason=reason,
            target="onnxruntime",
        )
        for rule, made, refused, reason in (
            ("transpose", product(RIGHT), f"{RIGHT} u = Exp (t)", "something else than products reads the Transpose"),
            (
                "scale",
                product(SCALED, b="float[2,3,m]"),
                f"{SCALED} u = Exp (s)",
                "something else than the product reads what is scaled",
            ),
        )
    ),
    RuleCase(
        pass_=PASS,
        rule="shape",
        fires=shapes(),
        counts={"Concat": 1, "Expand": 1, "Gather": 1, "Shape": 1},
        refused=shapes(ELSEWHERE),
        reason="something else than the Shape reads the Transpose",
        target="onnxruntime",
    ),
)
