"""The rules of simplify_shape_chains."""

import numpy as np

from pytest_modelcheck.passes.simplify_shape_chains import SimplifyShapeChains
from tests.passes.fusing_checks import make
from tests.passes.rule_cases import RuleCase
from tests.passes.test_simplify_shape_chains import HEADER, HEADS, NUMBERS

PASS = SimplifyShapeChains()
LENGTH = (
    HEADER
    + """(float[batch, 3] x) => (float[batch, 3] y) {
    s = Shape(x) n = Gather<axis = 0>(s, one) f = Cast<to = 1>(n) y = Mul(x, f)
}"""
)
CASES = (
    RuleCase(
        pass_=PASS,
        rule="constant",
        fires=make(LENGTH, one=np.array(1)),
        counts={"Mul": 1},
        refused=make(
            HEADER + "(float[n] x) => (int32[1] y) { p = Mul(c, c) y = Abs(p) }", c=np.array([70000], np.int32)
        ),
        reason="its elements do not fit the integer type",
    ),
    RuleCase(
        pass_=PASS,
        rule="fold",
        fires=make(LENGTH, one=np.array(1)),
        refused=None,
        reason="",
    ),
    RuleCase(
        pass_=PASS,
        rule="target",
        fires=make(HEADS, **NUMBERS),
        counts={"Reshape": 1},
        refused=make(HEADER + "(float[a, b] x, float[c, d] z) => (float[c, d] y) { s = Shape(z) y = Reshape(x, s) }"),
        reason="more than one element of the Reshape target is not known",
    ),
    RuleCase(
        pass_=PASS,
        rule="remove",
        fires=make(HEADER + "(float[n, 4] x) => (float[n, 4] y) { s = Shape(x) e = Expand(x, s) y = Softmax(e) }"),
        counts={"Softmax": 1},
        refused=make(HEADER + "(float[n, 4] x) => (float[n, 4] y) { s = Shape(x) y = Expand(x, s) }"),
        reason="a graph output would lose its name",
    ),
    RuleCase(
        pass_=PASS,
        rule="merge",
        fires=make(
            HEADER + "(float[n, m, 12] x) => (float[p, 3, 4] y) { a = Reshape(x, rows) y = Reshape(a, heads) }",
            rows=np.array([-1, 12]),
            heads=np.array([-1, 3, 4]),
        ),
        counts={"Reshape": 1},
        refused=make(
            HEADER + "(float[a, b, 12] x, int64[2] n) => (float[p, q] y) { r = Reshape(x, rows) y = Reshape(r, n) }",
            rows=np.array([-1, 12]),
        ),
        reason="more than one axis after two reshapes has no size that is known to be its input's",
    ),
    RuleCase(
        pass_=PASS,
        rule="reuse",
        fires=make(
            HEADER
            + """(float[n, m] x) => (float[n, m, 2] y) {
            s = Shape(x) t = Concat<axis = 0>(s, two) a = Expand(c, t)
            r = Relu(x) s2 = Shape(r) t2 = Concat<axis = 0>(s2, two) b = Expand(d, t2) y = Add(a, b) }""",
            two=np.array([2]),
            c=np.ones((1, 1, 2), np.float32),
            d=np.ones((1, 1, 1), np.float32),
        ),
        counts={"Add": 1, "Concat": 1, "Expand": 1, "Shape": 1},
        refused=make(
            HEADER
            + """(float[n, m] x) => (float[n, m] y, int64[2] t) {
            s = Shape(x) r = Relu(x) t = Shape(r) y = Expand(c, s) }""",
            c=np.ones((1, 1), np.float32),
        ),
        reason="the second computation of a shape is a graph output",
    ),
    RuleCase(
        pass_=PASS,
        rule="earlier",
        fires=make(HEADER + "(float[n, m] x) => (int64[2] y) { r = Relu(x) s = Shape(r) y = Neg(s) }"),
        counts={"Neg": 1, "Shape": 1},
        refused=None,
        reason="",
    ),
    RuleCase(
        pass_=PASS,
        rule="expand",
        fires=make(
            HEADER
            + """(float[batch, 1, 4] x, float[batch, 3, 4] z) => (float[batch, 3, 4] y) {
            s = Shape(z) e = Expand(x, s) y = Add(e, z) }"""
        ),
        counts={"Add": 1},
        refused=make(
            HEADER
            + """(float[batch, 1, 4] x, float[batch, 1, 4] z) => (float[batch, 3, 4] y) {
            e = Expand(x, s) y = Add(e, z) }""",
            s=np.array([1, 3, 1]),
        ),
        reason="without the Expand, what reads it would have another shape",
    ),
)
