"""Computed shapes that become constants, reshapes that become one: dynamic axes too, and where it must not happen."""

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.simplify_shape_chains import SimplifyShapeChains
from pytest_modelcheck.pipeline import run_pass
from tests.passes.fusing_checks import fires, ignores, in_subgraph, make, refuses

HEADS = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[batch, seq, 12] x) => (float[batch, seq, 3, 4] y) {
    s = Shape(x)
    b0 = Gather<axis = 0>(s, zero)
    s2 = Shape(x)
    b1 = Gather<axis = 0>(s2, one)
    u0 = Unsqueeze(b0, axes)
    u1 = Unsqueeze(b1, axes)
    t = Concat<axis = 0>(u0, u1, heads, size)
    y = Reshape(x, t)
}"""
NUMBERS = {
    "zero": np.array(0),
    "one": np.array(1),
    "axes": np.array([0]),
    "heads": np.array([3]),
    "size": np.array([4]),
}
HEADER = '<ir_version: 8, opset_import: ["": 17]> agraph '


def target_of(model):
    after, _ = run_pass(ir.from_proto(model), SimplifyShapeChains())
    reshape = next(node for node in after.graph.all_nodes() if node.op_type == "Reshape")
    return reshape.inputs[1].const_value.numpy().tolist()


def test_a_target_built_from_shape_gather_unsqueeze_concat_becomes_a_constant():
    made = make(HEADS, **NUMBERS)
    assert fires(SimplifyShapeChains(), made) == {"Reshape": 1}
    assert target_of(made) == [0, 0, 3, 4]


def test_the_same_chain_inside_a_branch_that_reads_an_outer_value():
    assert fires(SimplifyShapeChains(), in_subgraph(make(HEADS, **NUMBERS))) == {"If": 1, "Reshape": 2}


def test_a_shape_reads_past_what_only_it_reads():
    made = make(
        HEADER + "(float[batch, 4] x) => (int64[2] s) { r = Relu(x) c = Cast<to = 11>(r) d = Add(c, w) s = Shape(d) }",
        w=np.ones((1, 4)),
    )
    assert fires(SimplifyShapeChains(), made) == {"Shape": 1}


@pytest.mark.parametrize(
    "body",
    [
        "c = Cast<to = 11>(x) s = Shape(c) y = Neg(c)",
        "c = Concat<axis = 0>(x, x) s = Shape(c) y = Cast<to = 11>(x)",
    ],
)
def test_a_shape_of_what_others_read_or_of_another_shape_stays(body):
    ignores(SimplifyShapeChains(), make(HEADER + f"(float[batch, 4] x) => (int64[2] s, double[b, 4] y) {{ {body} }}"))


def test_a_computed_rest_becomes_minus_one():
    made = make(
        HEADER
        + """(float[batch, seq, 12] x) => (float[rows, 12] y) {
    s = Shape(x) b = Gather<axis = 0>(s, zero) n = Gather<axis = 0>(s, one) r = Mul(b, n) u = Unsqueeze(r, axes)
    t = Concat<axis = 0>(u, twelve) y = Reshape(x, t)
}""",
        zero=np.array(0),
        one=np.array(1),
        axes=np.array([0]),
        twelve=np.array([12]),
    )
    assert fires(SimplifyShapeChains(), made) == {"Reshape": 1}
    assert target_of(made) == [-1, 12]


def test_axes_that_elementwise_ops_matmul_and_transpose_carry_are_followed():
    made = make(
        HEADER
        + """(float[batch, seq, 12] x) => (float[batch, seq, 6] y) {
    s = Shape(x) b = Gather<axis = 0>(s, zero) n = Gather<axis = 0>(s, one)
    m = MatMul(x, w) g = Erf(m) p = Transpose<perm = [1, 0, 2]>(g) q = Transpose<perm = [1, 0, 2]>(p)
    ub = Unsqueeze(b, axes) un = Unsqueeze(n, axes) t = Concat<axis = 0>(ub, un, six) y = Reshape(q, t)
}""",
        zero=np.array(0),
        one=np.array(1),
        axes=np.array([0]),
        six=np.array([6]),
        w=np.ones((12, 6), np.float32),
    )
    assert fires(SimplifyShapeChains(), made) == {"Erf": 1, "MatMul": 1, "Transpose": 2}


def test_the_batch_behind_a_resize_is_copied_beside_sizes_that_are_not_known():
    body = """r = Resize <mode = "nearest"> (x, "", scales) s = Shape (r) b = Gather (s, zero) u = Unsqueeze (b, first)
        t = Concat <axis = 0> (u, rest) y = Reshape (r, t)"""
    made = make(
        f'<ir_version: 9, opset_import: ["" : 17]> g (float[n,4,k] x) => (float[a,b] y) {{ {body} }}',
        scales=np.array([1, 1, 0.5], np.float32), zero=np.array(0), first=np.array([0]), rest=np.array([-1]),
    )  # fmt: skip
    for place in (made, in_subgraph(made)):
        assert "Gather" not in fires(SimplifyShapeChains(), place)


def test_a_target_with_two_sizes_from_another_input_is_refused():
    made = make(
        HEADER + """(float[a, b] x, float[c, d] other) => (float[c, d] y) { s = Shape(other) y = Reshape(x, s) }"""
    )
    assert refuses(SimplifyShapeChains(), made) == {"more than one element of the Reshape target is not known"}


def test_a_target_that_is_an_input_is_refused():
    made = make(HEADER + "(float[a, b] x, int64[3] t) => (float[c, d, e] y) { y = Reshape(x, t) }")
    assert refuses(SimplifyShapeChains(), made) == {"more than one element of the Reshape target is not known"}


def test_a_target_of_unknown_length_is_refused():
    made = make(
        HEADER + "(float[a, b] x, int64[n] t) => (float y) { r = Reshape(x, t) y = ReduceSum<keepdims = 0>(r) }"
    )
    assert refuses(SimplifyShapeChains(), made) == {"the number of elements of the Reshape target is not known"}


def test_two_reshapes_become_one():
    made = make(
        HEADER
        + "(float[batch, seq, 12] x) => (float[batch, seq, 3, 4] y) { a = Reshape(x, rows) y = Reshape(a, heads) }",
        rows=np.array([-1, 12]),
        heads=np.array([2, -1, 3, 4]),
    )
    assert fires(SimplifyShapeChains(), made, size=2) == {"Reshape": 1}


def test_a_reshape_that_undoes_another_takes_both_away():
    made = make(
        HEADER
        + """(float[batch, 3, 4] x) => (float[batch, 3, 4] y) {
    r = Relu(x) a = Reshape(r, flat) b = Reshape(a, back) y = Exp(b)
}""",
        flat=np.array([0, 12]),
        back=np.array([-1, 3, 4]),
    )
    assert fires(SimplifyShapeChains(), made) == {"Exp": 1, "Relu": 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = Unsqueeze(r, one) b = Squeeze(a, one) y = Exp(b)",
        "a = Flatten<axis = 1>(r) b = Reshape(a, back) y = Exp(b)",
        "a = Unsqueeze(r, one) c = Unsqueeze(a, one) d = Squeeze(c, one) b = Squeeze(d, one) y = Exp(b)",
    ],
)
def test_squeeze_unsqueeze_and_flatten_cancel(body):
    made = make(
        HEADER + "(float[batch, 3, 4] x) => (float[batch, 3, 4] y) { r = Relu(x)" + body + "}",
        one=np.array([1]),
        back=np.array([-1, 3, 4]),
    )
    assert fires(SimplifyShapeChains(), made) == {"Exp": 1, "Relu": 1}


def one_direction(body):
    return make(
        HEADER + "(float[7, 1, batch, 6] x) => (float[a, b, c] y) { e = Exp(x) " + body + "}",
        **{
            name: np.array(numbers)
            for name, numbers in {"flat": [7, -1, 6], "two": [2], "one": [1]}.items()
            if name in body
        },
    )


@pytest.mark.parametrize(
    "body",
    [
        "r = Transpose<perm = [0, 2, 1, 3]>(e) y = Reshape(r, flat)",
        "r = Transpose<perm = [0, 2, 1, 3]>(e) y = Squeeze(r, two)",
        "r = Squeeze(e, one) u = Unsqueeze(r, two) s = Transpose<perm = [0, 2, 1, 3]>(u) y = Squeeze(s, one)",
    ],
)
def test_a_transpose_that_moves_an_axis_of_one_element_is_a_reshape(body):
    # As behind every LSTM by torch's dynamo exporter: the axis of its one direction.
    assert fires(SimplifyShapeChains(), one_direction(body))["Exp"] == 1
    assert fires(SimplifyShapeChains(), one_direction(body)).keys() <= {"Exp", "Reshape"}
    assert "Transpose" not in fires(SimplifyShapeChains(), in_subgraph(one_direction(body)))


def test_a_transpose_that_moves_another_axis_stays_in_front_of_a_reshape():
    ignores(SimplifyShapeChains(), one_direction("r = Transpose<perm = [2, 1, 0, 3]>(e) y = Squeeze(r, one)"))


def test_a_reshape_that_is_read_twice_stays():
    made = make(
        HEADER + "(float[n, 3, 4] x) => (float[n, 12] y, float[n, 4, 3] z) { y = Reshape(x, a) z = Reshape(y, b) }",
        a=np.array([0, 12]),
        b=np.array([0, 4, 3]),
    )
    ignores(SimplifyShapeChains(), made)


def test_expand_to_the_shape_a_value_has_is_removed_where_the_comparison_with_minus_one_is_decided():
    made = make(
        HEADER
        + """(float[batch, 4] x) => (float[batch, 4] y) {
    s = Shape(x) c = Equal(s, minus) w = Where(c, ones, s) e = Expand(x, w) y = Relu(e)
}""",
        minus=np.array([-1]),
        ones=np.array([1, 1]),
    )
    assert fires(SimplifyShapeChains(), made) == {"Relu": 1}


def test_two_computations_of_one_shape_become_one():
    made = make(
        HEADER
        + """(float[batch, seq] x) => (float[batch, seq, 2] y) {
    s = Shape(x) t = Concat<axis = 0>(s, two) a = Expand(c, t)
    r = Relu(x) s2 = Shape(r) t2 = Concat<axis = 0>(s2, two) b = Expand(d, t2)
    y = Add(a, b)
}""",
        two=np.array([2]),
        c=np.ones((1, 1, 2), np.float32),
        d=np.ones((1, 1, 1), np.float32),
    )
    # The second Shape reads another value, but gives the same elements.
    assert fires(SimplifyShapeChains(), made) == {"Add": 1, "Concat": 1, "Expand": 1, "Shape": 1}


def test_a_slice_of_everything_that_is_bounded_by_the_axis_itself_is_removed():
    made = make(
        HEADER
        + """(float[batch, seq] x) => (float[batch, seq] y) {
    s = Shape(x) n = Slice(s, one, two) r = Relu(x) c = Slice(r, zero, n, one) y = Exp(c)
}""",
        zero=np.array([0]),
        one=np.array([1]),
        two=np.array([2]),
    )
    assert fires(SimplifyShapeChains(), made) == {"Exp": 1, "Relu": 1}


def test_two_reshapes_of_which_the_second_needs_two_unknown_sizes_are_refused():
    made = make(
        HEADER + "(float[a, b, 12] x, int64[2] n) => (float[p, q] y) { r = Reshape(x, rows) y = Reshape(r, n) }",
        rows=np.array([-1, 12]),
    )
    assert "more than one axis after two reshapes has no size that is known to be its input's" in refuses(
        SimplifyShapeChains(), made
    )


def test_an_unnamed_axis_is_not_taken_for_another_unnamed_axis():
    made = make(
        HEADER + "(float[?, ?] x, float[?, ?] z) => (float[?, ?] y) { s = Shape(z) e = Expand(x, s) y = Relu(e) }"
    )
    ignores(SimplifyShapeChains(), made)


def test_several_reshapes_of_one_reshape_all_read_its_input():
    made = make(
        HEADER
        + """(float[n] x) => (float[n, n] y) {
    a = Unsqueeze(x, zero) b = Unsqueeze(a, zero) p = Squeeze(b, zero) q = Unsqueeze(b, three)
    r = Squeeze(q, both) s = Relu(r) y = Add(s, p)
}""",
        zero=np.array([0]),
        three=np.array([3]),
        both=np.array([0, 1]),
    )
    assert fires(SimplifyShapeChains(), made) == {"Add": 1, "Relu": 1, "Reshape": 2}


def test_an_expand_whose_reader_broadcasts_is_removed():
    made = make(
        HEADER
        + """(float[batch, 1, 4] x, float[batch, 3, 4] z) => (float[batch, 3, 4] y) {
    s = Shape(z) e = Expand(x, s) y = Add(e, z)
}"""
    )
    assert fires(SimplifyShapeChains(), made) == {"Add": 1}


def test_an_expand_that_makes_the_shape_of_its_reader_is_refused():
    made = make(
        HEADER
        + """(float[batch, 1, 4] x, float[batch, 1, 4] z) => (float[batch, 3, 4] y) {
    e = Expand(x, s) y = Add(e, z)
}""",
        s=np.array([1, 3, 1]),
    )
    assert refuses(SimplifyShapeChains(), made) == {"without the Expand, what reads it would have another shape"}


def test_an_expand_that_a_matmul_reads_stays():
    made = make(
        HEADER
        + """(float[1, 3, 4] x, float[batch, 4, 5] z) => (float[batch, 3, 5] y) {
    b = Shape<start = 0, end = 1>(z) t = Concat<axis = 0>(b, rest) e = Expand(x, t) y = MatMul(e, z)
}""",
        rest=np.array([3, 4]),
    )
    ignores(SimplifyShapeChains(), made)


def test_a_shape_reads_past_a_whole_chain_also_from_a_branch():
    chain = " ".join(f"v{i + 1} = Relu(v{i})" for i in range(6)).replace("v0", "x")
    made = make(HEADER + f"(float[n, m] x) => (int64[2] y) {{ {chain} s = Shape(v6) y = Neg(s) }}")
    assert fires(SimplifyShapeChains(), made) == {"Neg": 1, "Shape": 1}
    branches = """(float[n, m] x, bool c) => (int64[2] y) {
        r = Relu(x)
        y = If(c) <then_branch = t () => (int64[2] u) { s = Shape(r) u = Neg(s) },
                   else_branch = f () => (int64[2] v) { v = Shape(x) }>
    }"""
    assert fires(SimplifyShapeChains(), make(HEADER + branches)) == {"If": 1, "Neg": 1, "Shape": 2}


def test_a_number_that_its_type_does_not_hold_is_not_written_down():
    body = "s = Shape(x) c = Cast<to = 6>(s) m = ReduceProd<keepdims = 0>(c) y = Add(m, z)"
    made = make(HEADER + f"(float[70000, 70000] x, int32 z) => (int32 y) {{ {body} }}")
    _, record = run_pass(ir.from_proto(made), SimplifyShapeChains())
    assert "its elements do not fit the integer type" in {refusal.reason for refusal in record.refusals}


def test_a_scalar_becomes_a_scalar():
    made = make(HEADER + "(float[2, 3] x, int64 z) => (int64 y) { s = Size(x) y = Add(s, z) }")
    assert fires(SimplifyShapeChains(), made) == {"Add": 1}


def test_a_sequence_has_no_shape_to_be_read():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (seq(float[n, m]) x, int64 i) => (int64[2] y) { a = SequenceAt(x, i) s = Shape(a) y = Neg(s) }"""
    )
    ignores(SimplifyShapeChains(), made)
