"""Transposes that move through other operators, and operators of which too little is known."""

import re

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.eliminate_redundant_transposes import EliminateRedundantTransposes
from pytest_modelcheck.passes.transposes.rules import RULES
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = EliminateRedundantTransposes()
HEADER = '<ir_version: 8, opset_import: ["": 17]> agraph (float[a, b, c] x) => '


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


STATIC = HEADER.replace("float[a, b, c]", "float[a, 3, 4]")
CONSTANTS = {
    "row": np.arange(3, dtype=np.float32),
    "scalar": np.array(0, np.float32),
    "zero": np.array([0]),
    "three": np.array([3]),
    "two": np.array([2]),
    "one": np.array([1]),
    "four": np.array([4]),
    "pads": np.array([0, 0, 1, 0, 0, 2]),
    "halves": np.array([2, 2]),
}


def moved(op, body, refused=None, reason="", *, opset=17):
    """A Transpose that moves through `op` as it stands in `body`; `refused` reads what is not known from inputs."""
    known = re.findall(r"\w+", body)
    return RuleCase(
        pass_=PASS,
        rule="move",
        variant=op,
        fires=between(body, **{name: array for name, array in CONSTANTS.items() if name in known}),
        refused=None if refused is None else met(refused, opset=opset),
        reason=f"the {op} behind the Transpose {reason}" if reason.startswith("flattens") else reason,
    )


def met(body, *, opset=17):
    """A graph of `body` in which what a rule has to know may come from inputs."""
    header = STATIC.replace("17", str(opset)).replace("x)", "x, int64[k] given, float[1, 1, 3] other)")
    return make(header + "(float[p, q, r] y) {" + body + "}")


TURNED = "p = Transpose<perm = [0, 2, 1]>(x) "
BACK = " y = Transpose<perm = [0, 2, 1]>(m)"
FLATTENS = "flattens to two axes before opset 13"
CASES = (
    moved("Tanh", "m = Tanh(p)"),
    moved("Concat", "n = Concat<axis = 1>(p, p) m = Slice(n, zero, four, one)"),
    moved("Split", "i, j = Split<axis = 1>(p, halves) m = Concat<axis = 1>(j, i)"),
    moved(
        "Mul",
        "m = Mul(p, row)",
        TURNED + "r = Reshape(other, given) m = Mul(p, r)" + BACK,
        "the rank of what the Mul behind the Transpose reads is not known",
    ),
    *(
        moved(op, f"m = {op}<axis = 1>(p)", TURNED + f"m = {op}<axis = 2>(p)" + BACK, FLATTENS, opset=11)
        for op in ("Softmax", "LogSoftmax", "Hardmax")
    ),
    moved(
        "ReduceSum",
        "s = ReduceSum(p, two) m = Sub(p, s)",
        TURNED + "s = ReduceSum(p, given) m = Sub(p, s)" + BACK,
        "the axes of the ReduceSum behind the Transpose are not constant",
    ),
    moved(
        "Slice",
        "n = Concat<axis = -1>(p, p) m = Slice(n, zero, three, two)",
        TURNED + "m = Slice(p, given, given, given)" + BACK,
        "the axes of the Slice behind the Transpose are not constant",
    ),
    moved(
        "Pad",
        "n = Pad(p, pads) m = Slice(n, zero, three, two)",
        TURNED + "m = Pad(p, given)" + BACK,
        "how much is padded behind the Transpose is not constant",
    ),
)


def test_every_kind_of_move_has_a_case():
    assert {RULES[case.variant] for case in CASES} == set(RULES.values())


def test_an_addition_from_before_opset_7_is_not_moved():
    made = met(TURNED + "m = Add<broadcast = 1, axis = 1>(p, x)" + BACK, opset=6)
    assert refuses(PASS, made) == {"the Add behind the Transpose broadcasts as before opset 7"}


def test_an_axis_that_the_caller_of_a_function_sets_is_not_moved():
    made = in_function(between("m = Softmax(p)"))
    (function,) = made.functions
    function.attribute_proto.append(onnx.helper.make_attribute("along", 1))
    node = next(node for node in function.node if node.op_type == "Softmax")
    node.attribute.add(name="axis", type=onnx.AttributeProto.INT).ref_attr_name = "along"
    reason = "the axis of the Softmax behind the Transpose is set by the caller of the function"
    assert refuses(PASS, made) == {reason}


@pytest.mark.parametrize("op", ["Softmax<axis = 1>", "LogSoftmax<axis = -2>", "Softmax", "Hardmax<axis = 3>"])
def test_a_softmax_before_opset_13_moves_where_the_same_axes_become_the_second_one(op):
    header = HEADER.replace("17", "11").replace("[a, b, c]", "[a, 3, 4, 2]")
    turn = "Transpose<perm = [0, 2, 1, 3]>" if "3" in op else "Transpose<perm = [0, 1, 3, 2]>"
    if op.endswith(("1>", "Softmax")):
        turn = "Transpose<perm = [0, 2, 3, 1]>"
    back = "Transpose<perm = [0, 3, 1, 2]>" if op.endswith(("1>", "Softmax")) else turn
    made = make(header + f"(float[a, 3, 4, 2] y) {{ p = {turn}(x) m = {op}(p) y = {back}(m) }}")
    assert fires(EliminateRedundantTransposes(), made) == {op.partition("<")[0]: 1}


def test_a_hardmax_before_opset_13_takes_the_first_of_equal_elements():
    made = met(TURNED + "m = Hardmax<axis = 1>(p)" + BACK, opset=11)
    assert refuses(PASS, made) == {f"the Hardmax behind the Transpose {FLATTENS}"}


def test_a_sum_of_everything_has_no_order():
    made = make(STATIC + "(float y) { r = Relu(x)" + TURNED.replace("(x)", "(r)") + "y = ReduceSum<keepdims = 0>(p) }")
    assert fires(EliminateRedundantTransposes(), made) == {"ReduceSum": 1, "Relu": 1}


def test_a_sum_over_no_axes_keeps_the_order():
    body = "s = ReduceSum<keepdims = 0, noop_with_empty_axes = 1>(p) y = Relu(s) }"
    ignores(PASS, make(STATIC + "(float[p, q, r] y) { " + TURNED + body))


def test_a_region_flips_inside_a_branch():
    assert fires(EliminateRedundantTransposes(), in_subgraph(between("m = Tanh(p)")))["Tanh"] == 2


def test_a_layernorm_between_a_pair_is_not_moved_to_another_axis():
    made = between("m = LayerNormalization<axis = -1>(p, row)", row=np.arange(3, dtype=np.float32))
    ignores(EliminateRedundantTransposes(), made)
