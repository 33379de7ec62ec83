"""Transposes that meet: pairs, and pairs with something between them."""

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.eliminate_redundant_transposes import EliminateRedundantTransposes
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

HEADER = '<ir_version: 8, opset_import: ["": 17]> agraph (float[a, b, c] x) => '
CANCELLING = (
    HEADER
    + """(float[a, b, c] y) {
    r = Relu(x) p = Transpose<perm = [1, 2, 0]>(r) q = Transpose<perm = [2, 0, 1]>(p) y = Exp(q)
}"""
)
PASS = EliminateRedundantTransposes()
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


def test_pairs_that_cancel_between_input_and_outputs_become_identities():
    made = make(HEADER + "(float[a, b, c] y, float[a, b, c] z) { p = Transpose(x) y = Transpose(p) z = Transpose(p) }")
    assert fires(EliminateRedundantTransposes(), made) == {"Identity": 2}


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


def test_a_reduction_that_drops_its_axes_takes_the_transpose_away():
    made = make(
        HEADER
        + """(float[a, b] y) {
    p = Transpose<perm = [0, 2, 1]>(x) y = ReduceMean<axes = [1], keepdims = 0>(p)
}"""
    )
    assert fires(EliminateRedundantTransposes(), made) == {"ReduceMean": 1}


@pytest.mark.parametrize("axis", ["axis = -1", "axis = 1, select_last_index = 1"])
def test_the_index_of_the_largest_needs_no_transpose(axis):
    body = f"p = Transpose<perm = [0, 2, 1]>(x) y = ArgMax<{axis}, keepdims = 0>(p)"
    made = make(f"{HEADER} (int64[a, b] y) {{ {body} }}")
    assert fires(PASS, made) == {"ArgMax": 1}
    assert "Transpose" not in fires(PASS, in_subgraph(made))


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


def test_an_embedding_that_is_the_head_as_well_is_stored_and_read_once():
    words = np.random.default_rng(0).normal(size=(4000, 30)).astype(np.float32)
    text = """<ir_version: 8, opset_import: ["": 17]> agraph (int64[n] ids) => (float[n, 4000] y, float[n, 4000] g) {
        e = Gather(words, ids) t = Transpose<perm = [1, 0]>(words) m = MatMul(e, t) y = Add(m, bias)
        r = Relu(e) g = Gemm(r, t)
    }"""
    made = make(text, words=words, bias=np.ones(4000, np.float32))
    assert fires(PASS, made) == {"Gather": 1, "Gemm": 2, "Add": 1, "Relu": 1}
    optimized = optimize(made)
    assert sorted(node.op_type for node in optimized.graph.node) == ["Gather", "Gemm", "Gemm", "Relu"]
    assert sorted(weight.name for weight in optimized.graph.initializer) == ["bias", "words"]


@pytest.mark.parametrize(
    "body",
    [
        "t = Transpose(w) m = Unsqueeze(x, zero) y = MatMul(m, t)",
        "t = Transpose(w) s = MatMul(t, t) m = MatMul(x, s) y = Unsqueeze(m, zero)",
        "t = Transpose(x) m = MatMul(w, t) y = Unsqueeze(m, zero)",
    ],
)
def test_a_product_of_more_dimensions_of_a_matrix_with_itself_or_of_no_constant_stays(body):
    header = """<ir_version: 8, opset_import: ["": 17]> agraph (float[n, 3] x) => (float[a, b, c] y)
        <float[3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[1] zero = {0}>"""
    ignores(PASS, make(f"{header} {{ {body} }}"))


def test_an_unknown_order_is_refused():
    text = """<ir_version: 8, opset_import: ["": 17]> agraph (float[n] x, int64[k] target) => (float[a, b, c] y) {
        r = Reshape(x, target) p = Transpose(r) y = Transpose<perm = [1, 0, 2]>(p)
    }"""
    made = make(text)
    assert "the order of axes of a Transpose is not known" in refuses(EliminateRedundantTransposes(), made)


CASES = (
    RuleCase(
        pass_=PASS,
        rule="compose",
        fires=make(
            HEADER
            + """(float[a, b, c] y, float[b, c, a] z) {
            p = Transpose<perm = [1, 2, 0]>(x) q = Transpose<perm = [2, 0, 1]>(p) y = Exp(q) z = Neg(p) }"""
        ),
        counts={"Exp": 1, "Neg": 1, "Transpose": 1},
        refused=make(
            """<ir_version: 8, opset_import: ["": 17]> agraph (float[n] x, int64[k] target) => (float[a, b, c] y) {
            r = Reshape(x, target) p = Transpose(r) y = Transpose<perm = [1, 0, 2]>(p) }"""
        ),
        reason="the order of axes of a Transpose is not known",
    ),
    RuleCase(
        pass_=PASS,
        rule="chain",
        fires=make(
            HEADER.replace("float[a, b, c]", "float[a, 4, 6]")
            + """(float[a, 6, 4] y) {
            p = Transpose<perm = [0, 2, 1]>(x) r = Reshape(p, four) q = Transpose<perm = [0, 1, 3, 2]>(r)
            s = Reshape(q, four) t = Transpose<perm = [0, 1, 3, 2]>(s) u = Reshape(t, three) y = Relu(u) }""",
            four=np.array([0, 6, 2, 2]),
            three=np.array([0, 6, 4]),
        ),
        refused=make(
            HEADER.replace("float[a, b, c]", "float[a, b, 6]")
            + """(float[p, q, r] y) {
            p = Transpose<perm = [0, 2, 1]>(x) r = Reshape(p, four) y = Transpose<perm = [0, 2, 1]>(r) }""",
            four=np.array([0, 4, -1]),
        ),
        reason="how a Reshape regroups the axes is not provable",
    ),
    RuleCase(
        pass_=PASS,
        rule="gemm",
        fires=make(
            """<ir_version: 8, opset_import: ["": 17]> agraph (float[k, m] a, float[n, k] b) => (float[m, n] y) {
            at = Transpose(a) bt = Transpose<perm = [1, 0]>(b) y = Gemm(at, bt) }"""
        ),
        counts={"Gemm": 1},
        refused=make(
            """<ir_version: 8, opset_import: ["": 17]> agraph (float[3, 3] a, float[3, 3] b) => (float[3, 3] y) {
            at = Transpose(a) g = Gemm(at, b) y = Softmax(at) }""".replace("y = Softmax(at)", "y = Gemm(g, b, at)")
        ),
        reason="the transposed matrix of a Gemm is read in another way too",
    ),
)


def test_a_transpose_that_is_a_graph_output_is_not_taken_into_gemm():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3, 3] a, float[3, 3] b) => (float[3, 3] y, float[3, 3] t) { t = Transpose(a) y = Gemm(t, b) }"""
    )
    assert refuses(PASS, made) == {"the transposed matrix of a Gemm is a graph output"}


def test_a_flag_that_the_caller_of_a_function_sets_is_not_exchanged():
    made = in_function(
        make(
            """<ir_version: 8, opset_import: ["": 17]> agraph (float[3, 3] a, float[3, 3] b) => (float[3, 3] y)
            { t = Transpose<perm = [1, 0]>(a) y = Gemm(t, b) }"""
        )
    )
    (function,) = made.functions
    function.attribute_proto.append(onnx.helper.make_attribute("turned", 0))
    flag = function.node[1].attribute.add(name="transA", type=onnx.AttributeProto.INT)
    flag.ref_attr_name = "turned"
    assert refuses(PASS, made) == {"an attribute is set by the caller of the function"}
