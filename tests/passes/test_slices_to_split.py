"""Slices that take a value apart are one Split; others stay Slices."""

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from tests.passes.fusing_checks import fires, ignores, in_function, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = EliminateIdentityOps()
FROM = {f"from{number}": np.array([number]) for number in (0, 1, 2, 3, 4, 6, -3, 99)}
LAST = {"last": np.array([-1]), "middle": np.array([1]), "by2": np.array([2])}


def sliced(body: str, *, opset: int = 18, x: str = "float[N,4,6]", outputs: str = "float[a,b,c] y") -> onnx.ModelProto:
    names = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    given = {name: array for name, array in {**FROM, **LAST}.items() if name.replace("-", "m") in names}
    renamed = {name.replace("-", "m"): array for name, array in given.items()}
    return make(f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x} x) => ({outputs}) {{ {body} }}', **renamed)


HALVES = "a = Slice (x, from0, from3, last) b = Slice (x, from3, from99, last) "
ROTATED = HALVES + "n = Neg (b) y = Concat <axis = 2> (n, a)"
GAP = "a = Slice (x, from0, from3, last) b = Slice (x, from4, from99, last) y = Concat <axis = 2> (b, a)"


@pytest.mark.parametrize("place", [lambda model: model, in_function])
@pytest.mark.parametrize(
    ("body", "left"),
    [
        (ROTATED, {"Concat": 1, "Neg": 1}),
        ("b = Slice (x, fromm3, from99, last) a = Slice (x, from0, fromm3, last) y = Sub (a, b)", {"Sub": 1}),
        (
            "a = Slice (x, from0, from1, middle) b = Slice (x, from1, from3, middle) "
            "c = Slice (x, from3, from4, middle) y = Concat <axis = 1> (c, a, b)",
            {"Concat": 1},
        ),
        (HALVES + "c = Slice (x, from3, from6, last) d = Mul (a, b) y = Add (d, c)", {"Add": 1, "Mul": 1}),
    ],
)
def test_pieces_that_make_up_an_axis_are_one_split(place, body, left):
    counts = fires(PASS, place(sliced(body)))
    assert {op: count for op, count in counts.items() if "Body" not in op} == {**left, "Split": 1}


def test_below_opset_13_the_sizes_are_an_attribute():
    assert fires(PASS, sliced(ROTATED, opset=11)) == {"Concat": 1, "Neg": 1, "Split": 1}


def test_pieces_that_are_graph_outputs_keep_their_names():
    made = sliced(HALVES, outputs="float[a,b,c] a, float[a,b,c] b".replace("[a,b,c]", "[d,e,f]"))
    assert fires(PASS, made) == {"Split": 1}


@pytest.mark.parametrize(
    "body",
    [
        GAP,
        "a = Slice (x, from0, from4, last) b = Slice (x, from2, from6, last) y = Concat <axis = 2> (b, a)",
        HALVES.replace("from99", "from4") + "y = Concat <axis = 2> (b, a)",
    ],
)
def test_pieces_that_leave_a_gap_or_overlap_stay(body):
    assert refuses(PASS, sliced(body)) == {"the Slices do not make up their axis"}


BY_TWO = "a = Slice (x, from0, from3, last, by2) b = Slice (x, from3, from99, last) y = Concat <axis = 2> (b, a)"
TWO_AXES = "a = Slice (x, from0, from3, last) b = Slice (x, from3, from4, middle) y = MatMul (b, a)"


@pytest.mark.parametrize(
    ("body", "x"),
    [
        ("a = Slice (x, from0, from3, last) y = Neg (a)", "float[N,4,6]"),
        (BY_TWO, "float[N,4,6]"),
        (ROTATED, "float[N,4,M]"),
        (TWO_AXES, "float[N,6,6]"),
    ],
)
def test_one_piece_a_step_an_unknown_size_and_another_axis_are_no_split(body, x):
    ignores(PASS, sliced(body, x=x))


CASES = (
    RuleCase(
        pass_=PASS,
        rule="Slices of a whole axis",
        fires=sliced(ROTATED),
        counts={"Concat": 1, "Neg": 1, "Split": 1},
        refused=sliced(GAP),
        reason="the Slices do not make up their axis",
    ),
)
