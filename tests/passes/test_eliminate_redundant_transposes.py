"""Transposes that meet: pairs, and pairs with something between them."""

import numpy as np
import pytest
from fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses

from pytest_modelcheck.passes.eliminate_redundant_transposes import EliminateRedundantTransposes

HEADER = '<ir_version: 8, opset_import: ["": 17]> agraph (float[a, b, c] x) => '
CANCELLING = (
    HEADER
    + """(float[a, b, c] y) {
    r = Relu(x) p = Transpose<perm = [1, 2, 0]>(r) q = Transpose<perm = [2, 0, 1]>(p) y = Exp(q)
}"""
)
COMPOSABLE = (
    HEADER
    + """(float[c, b, a] y) {
    p = Transpose<perm = [1, 2, 0]>(x) y = Transpose<perm = [1, 0, 2]>(p)
}"""
)


def test_a_pair_that_cancels_disappears():
    assert fires(EliminateRedundantTransposes(), make(CANCELLING)) == {"Exp": 1, "Relu": 1}


def test_a_pair_that_does_not_cancel_becomes_one():
    assert fires(EliminateRedundantTransposes(), make(COMPOSABLE)) == {"Transpose": 1}


def test_transposes_without_an_order_reverse_the_axes_and_cancel():
    made = make(HEADER + "(float[a, b, c] y) { r = Relu(x) p = Transpose(r) q = Transpose(p) y = Exp(q) }")
    assert fires(EliminateRedundantTransposes(), made) == {"Exp": 1, "Relu": 1}


def test_a_pair_inside_a_branch_cancels():
    assert fires(EliminateRedundantTransposes(), in_subgraph(make(CANCELLING))) == {"Exp": 2, "If": 1, "Relu": 2}


def test_a_pair_inside_a_function_is_composed():
    assert fires(EliminateRedundantTransposes(), in_function(make(COMPOSABLE)))["Transpose"] == 1


def test_the_first_of_a_pair_stays_where_something_else_reads_it():
    made = make(
        HEADER
        + """(float[a, b, c] y, float[b, c, a] z) {
    r = Relu(x) p = Transpose<perm = [1, 2, 0]>(r) q = Transpose<perm = [2, 0, 1]>(p) y = Exp(q) z = Neg(p)
}"""
    )
    assert fires(EliminateRedundantTransposes(), made) == {"Exp": 1, "Neg": 1, "Relu": 1, "Transpose": 1}


def test_a_pair_of_one_transpose_that_is_a_graph_output_keeps_it():
    made = make(
        HEADER
        + """(float[a, b, c] y, float[b, c, a] p) {
    r = Relu(x) p = Transpose<perm = [1, 2, 0]>(r) q = Transpose<perm = [2, 0, 1]>(p) y = Exp(q)
}"""
    )
    assert fires(EliminateRedundantTransposes(), made) == {"Exp": 1, "Relu": 1, "Transpose": 1}


def test_one_transpose_alone_is_left_alone():
    ignores(EliminateRedundantTransposes(), make(HEADER + "(float[c, b, a] y) { y = Transpose(x) }"))


def between(body, **weights):
    """A Transpose, something that works on the transposed tensor, and the Transpose back."""
    text = f"""(float[a, b, c] y) {{
    r = Relu(x) p = Transpose<perm = [0, 2, 1]>(r) {body} q = Transpose<perm = [0, 2, 1]>(m) y = Exp(q)
}}"""
    return make(
        HEADER.replace("float[a, b, c]", "float[a, 3, 4]") + text.replace("float[a, b, c]", "float[a, 3, 4]"), **weights
    )


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("m = Tanh(p)", {"Tanh": 1}),
        ("n = Neg(p) m = Mul(n, p)", {"Mul": 1, "Neg": 1}),
        ("m = Softmax<axis = 1>(p)", {"Softmax": 1}),
        ("s = ReduceMean<axes = [1], keepdims = 1>(p) m = Sub(p, s)", {"ReduceMean": 1, "Sub": 1}),
        ("m = Mul(p, row)", {"Mul": 1}),
        ("m = Add(matrix, p)", {"Add": 1}),
        ("n = Concat<axis = -1>(p, p) m = Slice(n, zero, three, two)", {"Concat": 1, "Slice": 1}),
        ("n = Pad(p, pads) m = Slice(n, zero, three, two)", {"Pad": 1, "Slice": 1}),
        ("i, j = Split<axis = 1>(p, halves) m = Concat<axis = 1>(j, i)", {"Concat": 1, "Split": 1}),
        ("w = IsNaN(p) m = Where(w, scalar, p)", {"IsNaN": 1, "Where": 1}),
    ],
)
def test_a_pair_with_operators_between_cancels_and_axes_and_constants_follow(body, left):
    made = between(
        body,
        row=np.arange(3, dtype=np.float32),
        matrix=np.arange(12, dtype=np.float32).reshape(4, 3),
        scalar=np.array(0, np.float32),
        zero=np.array([0]),
        three=np.array([3]),
        two=np.array([2]),
        pads=np.array([0, 0, 1, 0, 0, 2]),
        halves=np.array([2, 2]),
    )
    assert fires(EliminateRedundantTransposes(), made) == {"Exp": 1, "Relu": 1, **left}


def test_two_branches_that_meet_lose_both_their_transposes():
    made = make(
        HEADER
        + """(float[a, b, c] y) {
    e = Exp(x) n = Neg(x)
    p = Transpose<perm = [0, 2, 1]>(e) q = Transpose<perm = [0, 2, 1]>(n)
    s = Add(p, q) t = Transpose<perm = [0, 2, 1]>(s) y = Relu(t)
}"""
    )
    assert fires(EliminateRedundantTransposes(), made) == {"Add": 1, "Exp": 1, "Neg": 1, "Relu": 1}


def test_a_region_that_something_else_reads_is_left_where_nothing_would_be_saved():
    made = make(
        HEADER.replace("float[a, b, c]", "float[a, 3, 4]")
        + """(float[a, 3, 4] y, float[a, 4, 5] z, float[a, 4, 3] w) {
    p = Transpose<perm = [0, 2, 1]>(x) t = Tanh(p) w = Neg(p) z = MatMul(t, k)
    q = Transpose<perm = [0, 2, 1]>(t) y = Exp(q)
}""",
        k=np.ones((3, 5), np.float32),
    )
    ignores(EliminateRedundantTransposes(), made)


def test_a_region_flips_inside_a_branch():
    assert fires(EliminateRedundantTransposes(), in_subgraph(between("m = Tanh(p)")))["Tanh"] == 2


def test_a_layernorm_between_a_pair_is_not_moved_to_another_axis():
    made = between("m = LayerNormalization<axis = -1>(p, row)", row=np.arange(3, dtype=np.float32))
    ignores(EliminateRedundantTransposes(), made)


def test_a_reduction_that_drops_its_axes_takes_the_transpose_away():
    made = make(
        HEADER
        + """(float[a, b] y) {
    p = Transpose<perm = [0, 2, 1]>(x) y = ReduceMean<axes = [1], keepdims = 0>(p)
}"""
    )
    assert fires(EliminateRedundantTransposes(), made) == {"ReduceMean": 1}


def test_a_reduction_after_which_the_axes_are_in_another_order_keeps_its_transpose():
    made = make(
        HEADER
        + """(float[c, a] y) {
    p = Transpose<perm = [2, 1, 0]>(x) y = ReduceMean<axes = [1], keepdims = 0>(p)
}"""
    )
    ignores(EliminateRedundantTransposes(), made)


def test_transposes_with_reshapes_between_become_the_shortest_chain():
    made = make(
        HEADER.replace("float[a, b, c]", "float[a, 4, 6]")
        + """(float[a, 6, 4] y) {
    p = Transpose<perm = [0, 2, 1]>(x) r = Reshape(p, four) q = Transpose<perm = [0, 1, 3, 2]>(r)
    s = Transpose<perm = [0, 1, 3, 2]>(q) t = Reshape(s, three) y = Relu(t)
}""",
        four=np.array([0, 6, 2, 2]),
        three=np.array([0, 6, 4]),
    )
    assert fires(EliminateRedundantTransposes(), made) == {"Relu": 1, "Transpose": 1}


def test_a_transposed_matrix_goes_into_the_flags_of_gemm():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[k, m] a, float[n, k] b) => (float[m, n] y) {
    at = Transpose(a) bt = Transpose<perm = [1, 0]>(b) y = Gemm(at, bt)
}"""
    )
    assert fires(EliminateRedundantTransposes(), made) == {"Gemm": 1}


def test_an_unknown_order_is_refused():
    text = """<ir_version: 8, opset_import: ["": 17]> agraph (float[n] x, int64[k] target) => (float[a, b, c] y) {
        r = Reshape(x, target) p = Transpose(r) y = Transpose<perm = [1, 0, 2]>(p)
    }"""
    made = make(text)
    assert "the order of axes of a Transpose is not known" in refuses(EliminateRedundantTransposes(), made)
