"""Transposes that meet: pairs, and pairs with something between them."""

from fusing_checks import fires, ignores, in_function, in_subgraph, make

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
