"""Two operators that are one, and pairs that only look like it."""

from functools import partial

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from pytest_modelcheck.pipeline import optimize
from pytest_modelcheck.runtimes import open_session
from tests.passes.fusing_checks import fires, ignores, make, refuses, worst_difference
from tests.passes.rule_cases import RuleCase

IDENTITIES = EliminateIdentityOps()
BOUNDS = {
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "three": np.array([3]),
    "minus": np.array([-1]),
}


KEPT = "the two reductions do not keep the same axes, or all are reduced"


def model(
    body: str, shapes: str = "(float[N,4,5] x) => (float y)", *, opset: int = 18, **weights: np.ndarray
) -> onnx.ModelProto:
    inputs, output = shapes.split(" => ")
    if output == "(float y)":
        output = "(float[A,B,C] y)"
    names = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    given = {name: array for name, array in {**BOUNDS, **weights}.items() if name in names}
    return make(f'<ir_version: 10, opset_import: ["" : {opset}]> g {inputs} => {output} {{ {body} }}', **given)


ALONG_ANOTHER = "r = Relu (x) a = Concat <axis = 2> (r, x) b = Concat <axis = 2> (x, x) y = Concat <axis = 1> (a, b)"
ALONG_A_NEW_ONE = (
    "s = SequenceConstruct (x, x) a = ConcatFromSequence <axis = 0, new_axis = 1> (s) "
    "y = ReduceSum <keepdims = 0> (a, zero)"
)


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ("a = Slice (x, one, three, one) y = Slice (a, zero, two, two)", {"Slice": 1}),
        ("a = Slice (x, one, three, one) y = Slice (a, zero, two, minus)", {"Slice": 1}),
        (
            "a = Slice (x, one, three, one, two) b = Slice (a, zero, one, zero) y = Slice (b, two, three, two)",
            {"Slice": 1},
        ),
        ("a = Relu (x) b = Concat <axis = 1> (x, a) y = Concat <axis = 1> (b, x)", {"Concat": 1, "Relu": 1}),
        ("a = Relu (x) b = Concat <axis = 1> (x, a) y = Concat <axis = -2> (x, b)", {"Concat": 1, "Relu": 1}),
        ("s = SequenceConstruct (x, x) y = ConcatFromSequence <axis = 1> (s)", {"Concat": 1}),
        ("a = Concat <axis = 1> (x, x) y = Concat <axis = 1> (a, a)", {"Concat": 1}),
        ("a = Relu (x) c = Greater (a, x) n = Not (c) y = Where (n, a, x)", {"Relu": 1, "Greater": 1, "Where": 1}),
    ],
)
def test_two_become_one(body: str, counts: dict[str, int]) -> None:
    assert fires(IDENTITIES, model(body)) == counts


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ("m = ReduceSum <keepdims = 0> (x, minus) y = Unsqueeze (m, two)", {"ReduceSum": 1}),
        ("m = ReduceL2 <keepdims = 0> (x, both) y = Unsqueeze (m, turned)", {"ReduceL2": 1}),
        ("m = ArgMax <axis = -2, keepdims = 0> (x) a = Unsqueeze (m, one) y = Neg (a)", {"ArgMax": 1, "Neg": 1}),
        ("m = ArgMin <keepdims = 0> (x) a = Unsqueeze (m, zero) y = Neg (a)", {"ArgMin": 1, "Neg": 1}),
    ],
)
def test_a_reduction_keeps_the_axes_that_are_put_back(body: str, counts: dict[str, int]) -> None:
    ports = "(float[N,4,5] x) => (int64[A,B,C] y)" if "Arg" in body else "(float[N,4,5] x) => (float y)"
    assert fires(IDENTITIES, model(body, ports, both=np.array([1, 2]), turned=np.array([-1, 1]))) == counts


@pytest.mark.parametrize("op", ["Max", "Mean", "Min", "Prod", "Sum", "L1", "L2", "LogSumExp"])
@pytest.mark.parametrize(
    ("keeps", "first", "second"), [(1, -1, 0), (0, -1, 0), (0, 0, -1), (0, 0, 0), (1, 2, 1), (1, 1, 1), (0, 1, 1)]
)
def test_reductions_over_two_axes_are_one(op: str, keeps: int, first: int, second: int) -> None:
    op = f"Reduce{op}"
    body = f"a = {op} <keepdims = {keeps}> (x, f) b = {op} <keepdims = {keeps}> (a, s) y = Add (x, b)"
    axes = {"f": np.array([first]), "s": np.array([second])}
    shapes = "(float[4,4,4] x) => (float[A,B,C] y)"
    assert fires(IDENTITIES, model(body, shapes, **axes)) == {op: 1, "Add": 1}
    below = body.replace("> (x, f)", f", axes = [{first}]> (x)").replace("> (a, s)", f", axes = [{second}]> (a)")
    if op != "ReduceSum":  # whose axes are an input from opset 13 on
        assert fires(IDENTITIES, model(below, shapes, opset=13)) == {op: 1, "Add": 1}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = ReduceSum <keepdims = 0> (x, one) b = ReduceSum (a, one) y = Unsqueeze (b, zero)", KEPT),
        ("a = ReduceMean (x, one) y = ReduceMean (a, two)", "the ReduceMean of integers is rounded"),
        ("a = ReduceSum (x, one) b = ReduceSum (a, two) y = Add (a, b)", "the ReduceSum output is used 2 times"),
    ],
)
def test_reductions_that_are_two_stay(body: str, reason: str) -> None:
    kind = "int64" if "Mean" in body else "float"
    assert reason in refuses(IDENTITIES, model(body, f"({kind}[N,4,5] x) => ({kind}[A,B,C] y)"))


def test_all_of_a_tree_of_concats_become_one_in_one_run() -> None:
    tree = model(
        "a = Concat <axis = 1> (x, x) b = Concat <axis = 1> (x, a) "
        "c = Concat <axis = 1> (b, x) y = Concat <axis = 1> (c, x)"
    )

    assert [node.op_type for node in optimize(tree).graph.node] == ["Concat"]


def test_concats_that_double_are_not_written_out() -> None:
    steps = [f"x{i + 1} = Concat <axis = 1> (x{i}, x{i})" for i in range(12)]
    doubled = model(" ".join(["x0 = Relu (x)", *steps, "y = Neg (x12)"]))

    inputs = [len(node.input) for node in optimize(doubled).graph.node if node.op_type == "Concat"]
    assert 1 < len(inputs) < 12
    assert max(inputs) <= 32


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Slice (x, one, three, one) y = Slice (a, one, two, one)", "both Slices are along one axis"),
        (ALONG_ANOTHER, "the inner Concat is along another axis"),
        (ALONG_A_NEW_ONE, "the elements of the sequence are put along a new axis"),
    ],
)
def test_look_alikes_stay(body: str, reason: str) -> None:
    assert refuses(IDENTITIES, model(body)) == {reason}


def test_a_slice_that_is_read_twice_stays() -> None:
    twice = model(
        "a = Slice (x, zero, three, one) b = Slice (a, zero, three, two) "
        "c = Relu (a) d = Slice (c, zero, three, two) y = Add (b, d)"
    )

    assert [node.op_type for node in optimize(twice).graph.node].count("Slice") == 3


@pytest.mark.parametrize(
    "body",
    [
        "a = Slice (x, zero, three, one) y = Slice (a, zero, two, two) z = Neg (a)",
        "a = Concat <axis = 1> (x, x) y = Concat <axis = 1> (a, x) z = Neg (a)",
    ],
)
def test_what_something_else_reads_is_not_merged(body: str) -> None:
    ignores(IDENTITIES, model(body, "(float[N,4,5] x) => (float[A,B,C] y, float[D,E,F] z)"))


def test_bounds_that_are_computed_are_not_merged() -> None:
    computed = make(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[N,4,5] x, int64[1] n) => (float[A,B,C] y) '
        "{ a = Slice (x, zero, n, one) y = Slice (a, zero, two, two) }",
        **{name: BOUNDS[name] for name in ("zero", "one", "two")},
    )
    assert refuses(IDENTITIES, computed) == {"the bounds of the two Slices are not constant"}


def test_a_reduction_that_keeps_its_axes_is_given_another() -> None:
    ignores(
        IDENTITIES, model("m = ReduceSum (x, one) y = Unsqueeze (m, one)", "(float[N,4,5] x) => (float[A,B,C,D] y)")
    )


@pytest.mark.parametrize(
    "body",
    [
        "m = ReduceSum <keepdims = 0> (x, both) a = Unsqueeze (m, both) c = Squeeze (a, two) y = Unsqueeze (c, one)",
        "m = ReduceSum <keepdims = 0> (x, both) a = Unsqueeze (m, outer) y = Neg (a)",
        "a = Slice (x, zero, three, one) y = Slice (a, zero, two, two) b = Slice (a, one, two, one) z = Neg (b)",
        "a = Concat <axis = 1> (x, x) y = Concat <axis = 1> (a, x) z = Neg (a)",
    ],
)
def test_what_is_read_twice_or_put_elsewhere_stays(body: str) -> None:
    weights = {"both": np.array([1, 2]), "outer": np.array([0, 1])}
    ports = "(float[N,4,5] x) => (float[A,B,C] y, float[D,E,F] z)" if "z =" in body else "(float[N,4,5] x) => (float y)"
    made = model(body, ports, **weights)
    after = optimize(made)

    kept = [node.op_type for node in after.graph.node]
    assert [kept.count(op) for op in ("Slice", "Concat")] == [body.count(op) for op in ("Slice", "Concat")]
    assert worst_difference(made, after) <= 1e-5


SEQUENCE = "r = Relu (x) e = Exp (x) s = SequenceConstruct (r, e) a = SequenceAt (s, at) y = Neg (a)"


@pytest.mark.parametrize(("at", "kept"), [(0, "Relu"), (-1, "Exp")])
def test_an_element_of_a_sequence_is_read_where_it_was_made(at: int, kept: str) -> None:
    assert fires(IDENTITIES, model(SEQUENCE, at=np.array(at))) == {kept: 1, "Neg": 1}


def test_an_element_of_an_optional_is_read_where_it_was_made() -> None:
    text = "g (float[N,3] x) => (float[N,3] y) { r = Relu (x) o = Optional (r) e = OptionalGetElement (o) y = Neg (e) }"

    assert fires(IDENTITIES, make(f'<ir_version: 10, opset_import: ["" : 18]> {text}')) == {"Relu": 1, "Neg": 1}


SUM = "w = Cast <to = 7> (x) s = CumSum <exclusive = 1, reverse = 1> (w, one) y = Cast <to = 6> (s)"
INTEGERS = "(int32[N,4] x) => (int32[N,4] y)"


def test_a_running_sum_between_casts_is_one_of_the_narrow_type() -> None:
    before = model(SUM, INTEGERS)
    after = optimize(before)
    assert [node.op_type for node in after.graph.node] == ["CumSum"]
    assert {each.name: each.i for each in after.graph.node[0].attribute} == {"exclusive": 1, "reverse": 1}
    wrapping = {"x": np.full((3, 4), 2**31 - 1, np.int32)}
    (expected, found) = (open_session(each).run(wrapping)["y"] for each in (before, after))
    assert np.array_equal(expected, found)
    assert (expected < 0).any()


def test_a_running_sum_of_a_mask_that_is_read_as_int32_too_reads_that() -> None:
    body = f"c = Cast <to = 6> (x) {SUM.replace('(x)', '(c)').replace('y =', 't =')} y = Mul (t, c)"
    made = model(body, "(bool[N,4] x) => (int32[N,4] y)")
    assert fires(IDENTITIES, made) == {"Cast": 1, "CumSum": 1, "Mul": 1}


@pytest.mark.parametrize("narrow", ["bool", "int8", "uint16"])
def test_a_running_sum_of_small_numbers_is_made_in_the_narrow_type(narrow: str) -> None:
    shapes = f"({narrow}[N,4] x) => (int32[N,4] y)"
    assert fires(IDENTITIES, model(SUM, shapes)) == {"Cast": 1, "CumSum": 1}
    assert [
        node.op_type
        for node in optimize(model(f"c = Cast <to = 6> (x) {SUM.replace('(x)', '(c)')}", shapes)).graph.node
    ] == ["Cast", "CumSum"]


@pytest.mark.parametrize(
    ("body", "shapes"),
    [
        ("w = Cast <to = 7> (x) s = CumSum (w, one) y = Cast <to = 1> (s)", "(int32[N,4] x) => (float[N,4] y)"),
        ("w = Cast <to = 11> (x) s = CumSum (w, one) y = Cast <to = 6> (s)", INTEGERS),
        (
            "w = Cast <to = 7> (x) s = CumSum (w, one) m = CastLike (s, x) t = Cast <to = 6> (s) y = Add (m, t)",
            INTEGERS,
        ),
    ],
)
def test_other_running_sums_stay_in_their_type(body: str, shapes: str) -> None:
    counts = [node.op_type for node in optimize(model(body, shapes)).graph.node]
    assert "Cast" in counts or "CastLike" in counts


ONES = "(float[N,1,5] x) => (float[N,1,5] y)"


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd"])
def test_a_reduction_of_one_element_is_that_element(op: str) -> None:
    assert fires(IDENTITIES, model(f"a = {op} (x, one) y = Exp (a)", ONES)) == {"Exp": 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = ReduceMean (x, two) y = Add (a, x)",
        "a = ReduceMean (x) y = Add (a, x)",
        "a = ReduceL1 (x, one) y = Exp (a)",
    ],
)
def test_other_reductions_stay(body: str) -> None:
    assert len(optimize(model(body, ONES)).graph.node) == 2


COLUMN = np.array([[1], [2], [3], [4]], np.float32)


@pytest.mark.parametrize(
    ("c", "d", "reason"),
    [
        (1e30, 1e30, "the product of the constants overflows, or vanishes"),
        (1e-30, 1e-30, "the product of the constants overflows, or vanishes"),
        (np.inf, 2, "the product of the constants overflows, or vanishes"),
    ],
)
def test_constants_whose_product_is_none_stay_apart(c: float, d: float, reason: str) -> None:
    assert refuses(IDENTITIES, model("a = Mul (x, c) y = Mul (a, d)", c=np.float32(c), d=np.float32(d))) == {reason}


def test_integers_wrap_alike_in_one_product_and_in_two() -> None:
    made = model("r = Neg (x) a = Mul (r, c) y = Mul (d, a)", INTEGERS, c=np.int32(70000), d=np.int32([[3, 4, 5, 6]]))
    assert fires(IDENTITIES, made) == {"Mul": 1, "Neg": 1}


identity_case = partial(RuleCase, pass_=IDENTITIES)

CASES = (
    identity_case(
        rule="Slice of a Slice",
        fires=model("r = Relu (x) a = Slice (r, one, three, one) y = Slice (a, zero, two, two)"),
        refused=model("a = Slice (x, one, three, one) y = Slice (a, one, two, one)"),
        reason="both Slices are along one axis",
        counts={"Relu": 1, "Slice": 1},
    ),
    identity_case(
        rule="Concat of a Concat",
        fires=model("r = Relu (x) a = Concat <axis = 1> (r, x) y = Concat <axis = 1> (a, x)"),
        refused=model(ALONG_ANOTHER),
        reason="the inner Concat is along another axis",
        counts={"Relu": 1, "Concat": 1},
    ),
    identity_case(
        rule="Concat of a sequence",
        fires=model("r = Relu (x) s = SequenceConstruct (r, x) y = ConcatFromSequence <axis = 1> (s)"),
        refused=model(ALONG_A_NEW_ONE),
        reason="the elements of the sequence are put along a new axis",
        counts={"Relu": 1, "Concat": 1},
    ),
    identity_case(
        rule="CumSum between Casts",
        fires=model(f"r = Neg (x) {SUM.replace('(x)', '(r)')}", INTEGERS),
        refused=model(SUM, "(uint32[N,4] x) => (int32[N,4] y)"),
        reason="the CumSum is of values that int32 does not hold",
        counts={"Neg": 1, "CumSum": 1},
    ),
    identity_case(
        rule="Where of a Not",
        fires=model("r = Relu (x) c = Greater (x, r) n = Not (c) y = Where (n, r, x)"),
        refused=model("r = Relu (x) c = Greater (x, r) n = Not (c) a = Cast <to = 1> (n) y = Where (n, r, a)"),
        reason="the Not output is used 2 times",
        counts={"Relu": 1, "Greater": 1, "Where": 1},
    ),
    identity_case(
        rule="Unsqueeze of a reduction",
        fires=model("r = Relu (x) m = ReduceMean <keepdims = 0> (r, one) y = Unsqueeze (m, one)"),
        refused=model("r = Relu (x) m = ReduceMean <keepdims = 0> (r, one) y = Unsqueeze (m, two)"),
        reason="it puts other axes than the reduction drops",
        counts={"Relu": 1, "ReduceMean": 1},
    ),
    identity_case(
        rule="Mul of a Mul",
        fires=model("r = Relu (x) a = Mul (c, r) y = Mul (a, d)", c=np.float32(3), d=np.ones((4, 5), np.float32) / 7),
        refused=model("a = Mul (x, c) y = Mul (a, d)", c=COLUMN, d=np.full((1, 5), 3, np.float32)),
        reason="the product of the constants is larger than each of them",
        counts={"Relu": 1, "Mul": 1},
    ),
    identity_case(
        rule="reduction of a reduction",
        fires=model("r = Relu (x) a = ReduceMax (r, one) y = ReduceMax (a, minus)"),
        refused=model("r = Relu (x) a = ReduceMax <keepdims = 0> (r, one) b = ReduceMax (a, one) y = Add (x, b)"),
        reason="the two reductions do not keep the same axes, or all are reduced",
        counts={"Relu": 1, "ReduceMax": 1},
    ),
    identity_case(
        rule="SequenceAt",
        fires=model(SEQUENCE, at=np.array(1)),
        refused=make(
            '<ir_version: 10, opset_import: ["" : 18]> g (float[N,4,5] x, bool[1] c) => (float[N,4,5] y) '
            "{ i = Cast <to = 7> (c) j = Squeeze (i) s = SequenceConstruct (x, x) y = SequenceAt (s, j) }"
        ),
        reason="the position in the sequence is not constant",
        counts={"Exp": 1, "Neg": 1},
    ),
    identity_case(
        rule="OptionalGetElement",
        fires=model("r = Relu (x) o = Optional (r) e = OptionalGetElement (o) y = Neg (e)"),
        refused=make(
            '<ir_version: 10, opset_import: ["" : 18]> g (optional(float[3]) x) => (float[3] y) '
            "{ e = OptionalGetElement (x) y = Neg (e) }"
        ),
        reason="the optional is not made from a value of this graph",
        counts={"Relu": 1, "Neg": 1},
    ),
    *(
        identity_case(
            rule=op,
            fires=model(f"r = Relu (x) a = {op} (r, one) y = Exp (a)", ONES),
            refused=model(f"y = {op} (x, one)", ONES),
            reason="its output is a graph output and the replacement cannot take that name",
            counts={"Relu": 1, "Exp": 1},
        )
        for op in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
    ),
)
