"""Equal graphs, and every single way in which two graphs are not."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelcheck.graph.compare import first_difference, graphs_equal, interface, same_tensor

TEXT = """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
g (float[2] x, bool c) => (float[2] y)
<float[2] w = {1, 2}> {
    a = Add(x, w)
    b = LeakyRelu <alpha: float = 0.5> (a)
    k = Constant <value = float[2] {3, 4}> ()
    d = mine.Twice(b)
    y = If (c) <
        then_branch = yes () => (float[2] p) { p = Mul(d, k) },
        else_branch = no () => (float[2] q) { q = Neg(d) }
    >
}
<domain: "mine", opset_import: ["" : 18]>
Twice (v) => (t) { t = Add(v, v) }
"""


ORDERED = "the same operators over the same constants, wired or ordered differently"


def made(text=TEXT):
    return ir.from_onnx_text(text)


def test_two_readings_of_one_text_are_equal():
    assert graphs_equal(made(), made())


def test_a_clone_is_equal_and_its_weights_are_not_read():
    model = made()
    assert graphs_equal(model, model.clone())


def test_names_inside_the_graph_and_metadata_do_not_count():
    inner = (
        TEXT.replace(" a = ", " other = ").replace("(a)", "(other)").replace("w =", "u =").replace("(x, w)", "(x, u)")
    )
    inner = inner.replace("p = Mul", "r = Mul").replace("float[2] p", "float[2] r")
    renamed = made(inner)
    renamed.graph[0].name = "named"
    renamed.graph[0].metadata_props["key"] = "value"
    assert graphs_equal(made(), renamed)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Add(x, w)", "Sub(x, w)", "Add 1 instead of 2, Sub 1 instead of 0"),
        ("Add(x, w)", "Add(w, x)", ORDERED),
        ("Add(x, w)", "Add(x, x)", ORDERED),
        ("alpha: float = 0.5", "alpha: float = 0.25", "attribute 'alpha' of LeakyRelu 'b' (node 1)"),
        (" <alpha: float = 0.5>", "", "attribute 'alpha' of LeakyRelu 'b' (node 1)"),
        ("{1, 2}", "{1, 3}", "constant 'w' of Add 'a' (node 0)"),
        ("float[2] {3, 4}", "float[2] {3, 5}", "attribute 'value' of Constant 'k' (node 2)"),
        ("float[2] {3, 4}", "float[1,2] {3, 4}", "attribute 'value' of Constant 'k' (node 2)"),
        ("Mul(d, k)", "Mul(d, d)", ORDERED),
        ("q = Neg(d)", "q = Abs(d)", "Abs 1 instead of 0, Neg 0 instead of 1"),
        ("t = Add(v, v)", "t = Mul(v, v)", "Add 1 instead of 2, Mul 2 instead of 1"),
        ("d = mine.Twice(b)", "e = Neg(b) d = mine.Twice(e)", "Neg 2 instead of 1"),
        ("d = mine.Twice(b)", "unused = Neg(b) d = mine.Twice(b)", "Neg 2 instead of 1"),
        ("float[2] x,", "float[2] z, float[2] x,", "input z FLOAT [2] instead of input x FLOAT [2]"),
        ('"" : 18, "mine"', '"" : 17, "mine"', "opsets {'': 17, 'mine': 1} instead of {'': 18, 'mine': 1}"),
        ("<float[2] w = {1, 2}>", "<float[2] w = {1, 2}, float[2] unread = {0, 0}>", ORDERED),
        ("g (float[2] x", "g (float[N] x", "input x FLOAT [N] instead of input x FLOAT [2]"),
        (
            "k = Constant <value = float[2] {3, 4}> ()\n    d = mine.Twice(b)",
            "d = mine.Twice(b)\n    k = Constant <value = float[2] {3, 4}> ()",
            "node 2 is mine:Twice instead of Constant",
        ),
    ],
)
def test_one_difference_makes_two_graphs_unequal_both_ways_and_is_named(old, new, words):
    assert old in TEXT
    left, right = made(), made(TEXT.replace(old, new, 1))
    assert not graphs_equal(left, right)
    assert not graphs_equal(right, left)
    assert first_difference(left, right) == words
    assert first_difference(left, made()) == ""


def test_a_renamed_output_makes_them_unequal():
    right = made()
    right.graph.outputs[0].name = "z"
    assert not graphs_equal(made(), right)


def test_the_interface_is_names_types_and_shapes_in_order():
    assert interface(made()) == (
        ("input", "x", "FLOAT", "[2]"),
        ("input", "c", "BOOL", "[]"),
        ("output", "y", "FLOAT", "[2]"),
    )


@given(st.lists(st.floats(width=32), max_size=5), st.lists(st.floats(width=32), max_size=5))
def test_tensors_are_equal_where_their_bytes_are(left, right):
    a, b = (np.array(values, dtype=np.float32) for values in (left, right))
    assert same_tensor(ir.tensor(a), ir.tensor(a.copy()))
    assert same_tensor(ir.tensor(a), ir.tensor(b)) == (a.tobytes() == b.tobytes() and a.shape == b.shape)


def test_zeros_of_both_signs_and_other_dtypes_are_not_equal():
    assert not same_tensor(ir.tensor(np.float32([0.0])), ir.tensor(np.float32([-0.0])))
    assert not same_tensor(ir.tensor(np.float32([0.0])), ir.tensor(np.int32([0])))
    assert not same_tensor(ir.tensor(np.float32([0.0])), None)
    assert same_tensor(ir.tensor(np.float32([np.nan])), ir.tensor(np.float32([np.nan])))
