"""Dimensions as polynomials, and the shapes and contents that are derived from them."""

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.shapes.content_rules import output_content
from pytest_modelcheck.shapes.dims import (
    add,
    atom,
    divide_exactly,
    is_nonnegative,
    least,
    maximum,
    minimum,
    multiply,
    parse,
    product,
    remainder,
    subtract,
    truncated_quotient,
)
from pytest_modelcheck.shapes.shape_rules import output_shapes
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

B, S = atom("batch"), atom("seq")


def test_products_are_equal_in_any_order():
    assert product([B, 12, S]) == multiply(multiply(S, B), 12)
    assert add(multiply(2, B), B) == multiply(B, 3)
    assert subtract(B, B) == 0


def test_sums_of_hundreds_of_sizes_are_one_atom():
    sizes = [atom(f"size{i}") for i in range(300)]
    total = add(*sizes)
    assert len(total.terms) == 1
    assert total == add(*sizes[::-1])
    assert total != add(*sizes[1:], B)
    assert len(add(*sizes[:256]).terms) == 256


@pytest.mark.parametrize("operation", [truncated_quotient, remainder, minimum, maximum])
def test_operations_on_operations_keep_their_length(operation):
    left, right, other = B, S, B
    for _ in range(60):  # the text of both operands in each: 2 to the power of 60 characters
        left, right = operation(left, right), operation(multiply(right, 2), add(left, 1))
        other = operation(other, right)
    assert len(repr(left)) < 400
    assert operation(left, right) == operation(left, right)
    assert operation(left, right) != operation(left, other)


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [
        (multiply(B, 12), 4, multiply(B, 3)),
        (multiply(B, S), S, B),
        (multiply(B, 6), 4, None),
        (B, S, None),
        (12, 5, None),
        (add(B, S), add(B, S), 1),
        (7, 0, None),
    ],
)
def test_division_without_rest(dividend, divisor, quotient):
    assert divide_exactly(dividend, divisor) == quotient


def test_what_is_no_polynomial_keeps_one_name():
    assert truncated_quotient(S, 2) == truncated_quotient(S, 2) != truncated_quotient(S, 3)
    assert minimum(512, S) == minimum(S, 512) != S
    assert maximum(0, S) == S
    assert remainder(S, 4) == remainder(S, 4)
    assert truncated_quotient(-7, 2) == -3


def test_what_a_size_is_at_least():
    batch = atom("batch")
    assert least(multiply(batch, 1500)) == 1500
    assert least(add(multiply(batch, 3), 2)) == 5
    assert least(7) == 7
    assert least(subtract(batch, 1)) == least(atom("?n")) == 1


def test_the_sign_of_an_unknown_element_is_not_known():
    assert is_nonnegative(multiply(B, S))
    assert not is_nonnegative(subtract(B, 1))
    assert not is_nonnegative(atom("?element"))


@pytest.mark.parametrize(
    ("name", "dim"),
    [("batch", B), ("2*seq", multiply(S, 2)), ("batch*seq + 1", add(multiply(B, S), 1)), ("a.b/c", atom("a.b/c"))],
)
def test_names_of_dimensions_are_read(name, dim):
    assert parse(name) == dim


def derived(body, inputs="float[batch, seq, 12] x", output="float[?] y", opset=17):
    text = f'<ir_version: 8, opset_import: ["": {opset}]> g ({inputs}) => ({output}) {{ {body} }}'
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text)))
    known = SymbolicShapes(model)
    return known, {value.name: value for node in model.graph for value in node.outputs}


def test_a_broadcast_of_a_dynamic_axis_with_a_number_is_the_number():
    known, values = derived("z = Add(x, w)", "float[batch, seq, 12] x, float[5, 12] w", "float[?, ?, ?] z")
    assert known.shape(values["z"]) == (B, 5, 12)


def test_a_broadcast_of_two_dynamic_axes_is_neither():
    known, values = derived("z = Add(x, w)", "float[batch, seq, 12] x, float[other, 12] w", "float[?, ?, ?] z")
    shape = known.shape(values["z"])
    assert shape[1] not in (S, atom("other"))


def test_a_position_table_cut_to_the_sequence_does_not_hide_the_sequence():
    body = """n = Shape<start = 1, end = 2>(x) zero = Constant<value_ints = [0]>() one = Constant<value_ints = [1]>()
    cut = Slice(table, zero, n, one) z = Add(x, cut)"""
    known, values = derived(body, "float[batch, seq, 12] x, float[1, 512, 12] table", "float[?, ?, ?] z")
    assert known.shape(values["cut"]) == (1, minimum(512, S), 12)
    assert known.shape(values["z"]) == (B, S, 12)


@pytest.mark.parametrize(
    ("resize", "kept"),
    [
        ("scales = Constant<value_floats = [1.0, 1.0, 2.0]>() z = Resize(x, roi, scales)", (True, True, False)),
        ('e = Constant<value_floats = [1.0]>() z = Resize<axes = [-1]>(x, "", e)', (True, True, True)),
        ('sizes = Shape(w) z = Resize(x, roi, "", sizes)', (False, False, False)),
        (
            'sizes = Shape(w) z = Resize<keep_aspect_ratio_policy = "not_larger">(x, roi, "", sizes)',
            (None, None, None),
        ),
        (
            "e = Constant<value_floats = [1.0]>() "
            'z = Resize<axes = [1], coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, e)',
            (None, None, None),
        ),
    ],
)
def test_a_resize_keeps_what_it_scales_by_1_and_makes_the_sizes_it_is_given(resize, kept):
    inputs = "float[batch, seq, n] x, float[other, k, m] w, float[r] roi"
    known, values = derived(resize, inputs, "float[?, ?, ?] z", opset=19)
    x, w = (B, S, atom("n")), (atom("other"), atom("k"), atom("m"))
    shape = known.shape(values["z"])
    for axis, keeps in enumerate(kept):
        assert (shape[axis] == x[axis]) == bool(keeps)
        assert (shape[axis] == w[axis]) == ("sizes" in resize and keeps is not None)


def test_the_content_of_a_shape_tensor_is_followed_through_arithmetic():
    body = """s = Shape(x) zero = Constant<value_int = 0>() b = Gather(s, zero) twelve = Constant<value_int = 12>()
    n = Mul(b, twelve) half = Div(n, twelve) minus = Constant<value_int = -1>() e = Equal(b, minus) y = Shape(x)"""
    known, values = derived(body, output="int64[3] y")
    assert known.content(values["n"]) == (multiply(B, 12),)
    assert known.content(values["half"]) == (B,)
    assert known.content(values["e"]) == (0,)


def test_the_last_element_of_a_named_axis_is_one():
    body = """minus = Constant<value_ints = [-1]>() two = Constant<value_ints = [-2]>()
    one = Constant<value_ints = [1]>() end = Constant<value_ints = [9223372036854775807]>()
    last = Slice(x, minus, end, one) y = Slice(x, two, end, one)"""
    known, values = derived(body, output="float[?, ?, ?] y")
    assert known.shape(values["last"]) == (B, 1, 12)
    assert known.shape(values["y"]) == (B, minimum(2, S), 12)


def test_a_named_size_is_at_least_one_and_a_computed_one_may_be_nothing():
    body = """s = Shape(x) one = Constant<value_ints = [1]>() most = Max(s, one) least = Min(s, one) z = Sub(s, one)
    y = Max(z, one)"""
    known, values = derived(body, output="int64[3] y")
    assert known.content(values["most"]) == (B, S, 12)
    assert known.content(values["least"]) == (1, 1, 1)
    assert known.content(values["y"])[:2] != (1, 1)


def test_a_minus_one_in_a_target_is_the_rest():
    body = "t = Constant<value_ints = [0, -1, 3, 4]>() y = Reshape(x, t)"
    known, values = derived(body, output="float[?, ?, ?, ?] y")
    assert known.shape(values["y"]) == (B, S, 3, 4)


def test_a_product_of_too_many_terms_is_one_symbol_that_equals_itself():
    total = add(add(add(S, B), add(atom("a"), atom("b"))), atom("c"))
    squared = total
    for _ in range(12):
        squared = multiply(squared, squared)
    again = total
    for _ in range(12):
        again = multiply(again, again)
    assert squared == again
    assert len(squared.terms) == 1
    assert is_nonnegative(squared)
    assert squared != multiply(squared, total)
    unsigned = add(total, atom("?element0.0"))
    for _ in range(4):
        unsigned = multiply(unsigned, unsigned)
    assert not is_nonnegative(unsigned)


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ("y = Transpose <perm = [1, 0]> (x)", [[3, 2]]),
        ("y = Transpose <perm = [5, 6]> (x)", []),
        ("y = Concat <axis = 1> (x, x)", [[2, 6]]),
        ("y = Concat <axis = 9> (x, x)", []),
        ("y = Concat <axis = -99> (x, x)", []),
        ("y = Gather <axis = 2> (x, i)", []),
        ("y = Gather <axis = -1> (x, i)", [[2, 1]]),
        ("y = ArgMax <axis = 7> (x)", []),
        ("y = ReduceMax <axes = [0, 3]> (x)", []),
        ("y = Split <axis = 2> (x)", []),
        ("y = Squeeze (x, five)", []),
        ("y = Unsqueeze (x, five)", []),
        ("y = Unsqueeze (x, twice)", []),
        ("y = Transpose <perm = [0, 0]> (x)", []),
        ("y = Range (none, none, none)", [[None]]),
        ('y = Einsum <equation = "ab,cb->ca"> (x, x)', [[2, 2]]),
        ('y = Einsum <equation = "...a->a..."> (x)', [[3, 2]]),
        ('y = Einsum <equation = "ab->c"> (x)', [[None]]),
        ('y = Einsum <equation = "aa"> (x)', []),
        ("y, z = TopK <axis = 0> (x, i)", []),
        ("y, z = TopK <axis = 0> (x, four)", [[4, 3], [4, 3]]),
        ("y, z = TopK (x, four)", [[2, 4], [2, 4]]),
        ("y = NonZero (x)", [[2, None]]),
        ('y = Einsum <equation = "abc"> (x)', []),
    ],
)
def test_what_the_input_does_not_have_gives_no_shape(body, shapes):
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 17]> g (float[2, 3] x, int64[1] i) => (y)
        <int64[1] five = {{5}}, int64[1] four = {{4}}, int64[2] twice = {{0, 0}}, int64[0] none = {{}}> {{ {body} }}""")
    assert output_shapes(model.graph.node(0), SymbolicShapes(model)) == shapes


@pytest.mark.parametrize("operator", ["Expand(one, length)", "ConstantOfShape <value = int64[1] {1}> (length)"])
@pytest.mark.parametrize(("length", "known"), [(64, [1] * 64), (65, None), (2**40, None)])
def test_elements_of_a_tensor_longer_than_any_shape_are_not_written_out(operator, length, known):
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 17]>
        g () => (int64[n] y) <int64[1] one = {{1}}, int64[1] length = {{{length}}}> {{ y = {operator} }}""")
    found = output_content(model.graph.node(0), SymbolicShapes(model))
    assert (None if found is None else list(found)) == known
