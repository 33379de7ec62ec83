"""The wiring of a file: red for anything that an output is computed from, green for names and order."""

import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.wiring import wiring_of
from pytest_modelcheck.numbers.files import numbers_of_file
from pytest_modelcheck.numbers.judging import judge
from pytest_modelcheck.numbers.text import parse, render

TEXT = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
g (float[2,2] x, bool c) => (float[2,2] y, float[2,2] z) <float[2,2] w = {1, 2, 3, 4}, float[2,2] v = {1, 2, 3, 5}> {
    half = Constant <value = float {0.5}> ()
    a = MatMul (x, w)
    b = MatMul (x, v)
    d = Sub (a, b)
    y = Mul (d, half)
    e = my.scaled (b)
    z = If (c) <
        then_branch = t () => (float[2,2] p) { p = Add (a, e) },
        else_branch = f () => (float[2,2] q) { q = Sub (a, e) }
    >
}
<domain: "my", opset_import: ["" : 17]>
scaled (r) => (s) { s = Softmax <axis = 1> (r) }
"""


def judged(text):
    return judge(render(numbers_of_file(ir.from_onnx_text(TEXT))), numbers_of_file(ir.from_onnx_text(text))).found


@pytest.mark.parametrize(
    ("old", "new", "outputs"),
    [
        ("d = Sub (a, b)", "d = Sub (b, a)", "y"),
        ("a = MatMul (x, w)\n    b = MatMul (x, v)", "a = MatMul (x, v)\n    b = MatMul (x, w)", "y, z"),
        ("float {0.5}", "float {0.25}", "y"),
        ("axis = 1", "axis = 0", "z"),
        ("q = Sub (a, e)", "q = Sub (e, a)", "z"),
        ("=> (float[2,2] y, float[2,2] z) <", "=> (float[2,2] z, float[2,2] y) <", ""),
        ("y = Mul", "y = Div", "y"),
        ("e = my.scaled (b)", "e = my.scaled (a)", "z"),
    ],
)
def test_what_an_output_is_computed_from_is_locked(old, new, outputs):
    assert TEXT.count(old) == 1
    found = judged(TEXT.replace(old, new))
    assert found == (f"{outputs}: computed by other operators, constants or wiring" if outputs else "")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    a = MatMul (x, w)\n    b = MatMul (x, v)\n", "    b = MatMul (x, v)\n    a = MatMul (x, w)\n"),
        ("half", "scale"),
        ("float[2,2] p", "float[N,M] p"),
    ],
)
def test_order_of_independent_nodes_inner_names_and_shapes_are_not(old, new):
    assert judged(TEXT.replace(old, new)) == ""


def test_other_values_of_a_weight_are_a_change_of_the_weight_alone():
    assert judged(TEXT.replace("{1, 2, 3, 5}", "{1, 2, 3, 6}")) == "1 of 2 initializers changed"


def test_a_record_without_wiring_is_compared_without():
    made = numbers_of_file(ir.from_onnx_text(TEXT))
    assert parse(render(made)).wiring == made.wiring == wiring_of(ir.from_onnx_text(TEXT))
    older = render(made).partition("\n[wiring]")[0]
    change = judge(older, numbers_of_file(ir.from_onnx_text(TEXT.replace("Mul (d", "Div (d"))))
    assert (change.found, change.stale) == ("", True)
    assert not judge(render(made), made).stale
