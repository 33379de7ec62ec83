"""Nodes that hand on their input, and look-alikes that do not."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from pytest_modelcheck.pipeline import optimize, run_pass
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, outputs, refuses
from tests.passes.rule_cases import RuleCase

HEADER = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 4] x) => (float[N, 4] y)
"""


def model(body, header=HEADER, **weights):
    return make(header + "{" + body + "}", **weights)


def after(made):
    return run_pass(ir.from_proto(made), EliminateIdentityOps())[0]


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("a = Relu(x) b = Identity(a) y = Exp(b)", {}),
        ("a = Relu(x) y = Identity(a)", {}),
        ("a = Relu(x) b = Dropout(a) y = Exp(b)", {}),
        ("a = Relu(x) b = Dropout(a, ratio, no) y = Exp(b)", {"ratio": np.float32(0.5), "no": np.array(False)}),
        ("a = Relu(x) b = Dropout(a, ratio, yes) y = Exp(b)", {"ratio": np.float32(0.0), "yes": np.array(True)}),
        ("a = Relu(x) b = Cast<to = 1>(a) y = Exp(b)", {}),
        ("a = Relu(x) b = CastLike(a, x) y = Exp(b)", {}),
        ("a = Relu(x) b = Concat<axis = 1>(a) y = Exp(b)", {}),
        ("a = Relu(x) b = Sum(a) y = Exp(b)", {}),
        ("a = Relu(x) b = Add(a, c) y = Exp(b)", {"c": np.zeros((1, 4), np.float32)}),
        ("a = Relu(x) b = Add(c, a) y = Exp(b)", {"c": np.zeros((), np.float32)}),
        ("a = Relu(x) b = Sub(a, c) y = Exp(b)", {"c": np.zeros((4,), np.float32)}),
        ("a = Relu(x) b = Mul(c, a) y = Exp(b)", {"c": np.ones((1,), np.float32)}),
        ("a = Relu(x) b = Div(a, c) y = Exp(b)", {"c": np.ones((1,), np.float32)}),
        ("a = Relu(x) b = Pow(a, c) y = Exp(b)", {"c": np.array(1, np.int64)}),
        ("a = Relu(x) b = Transpose<perm = [0, 1]>(a) y = Exp(b)", {}),
        ("a = Relu(x) b = Flatten(a) y = Exp(b)", {}),
        ("a = Relu(x) b = Reshape(a, c) y = Exp(b)", {"c": np.array([0, 4])}),
        ("a = Relu(x) b = Reshape(a, c) y = Exp(b)", {"c": np.array([-1, 4])}),
        ("a = Relu(x) s = Shape(x) b = Reshape(a, s) y = Exp(b)", {}),
        ("a = Relu(x) s = Shape(x) b = Expand(a, s) y = Exp(b)", {}),
        ("a = Relu(x) b = Expand(a, c) y = Exp(b)", {"c": np.array([1, 4])}),
        ("a = Relu(x) b = Tile(a, c) y = Exp(b)", {"c": np.array([1, 1])}),
        ("a = Relu(x) b = Pad(a, c) y = Exp(b)", {"c": np.zeros(4, np.int64)}),
        ("a = Relu(x) b = Slice(a, s, e) y = Exp(b)", {"s": np.array([0, 0]), "e": np.array([2**62, 4])}),
        ("a = Relu(x) b = Slice(a, s, e, t) y = Exp(b)", {"s": np.array([0]), "e": np.array([9]), "t": np.array([-1])}),
        ("a = Relu(x) b = Relu(a) y = Exp(b)", {}),
        ("a = Relu(x) b = Neg(a) c = Neg(b) y = Exp(c)", {}),
        ("a = Cast<to = 11>(x) b = Cast<to = 1>(a) c = Relu(b) y = Exp(c)", {}),
    ],
)
def test_a_node_that_hands_on_its_input_is_removed(body, weights):
    made = model(body, **weights)
    kept = {"Relu": 1} if "y = Identity" in body else {"Exp": 1, "Relu": 1}
    assert fires(EliminateIdentityOps(), made) == kept
    graph = after(made).graph
    assert [value.name for value in graph.outputs] == ["y"]
    assert str(graph.outputs[0].shape) == "[N,4]"


@pytest.mark.parametrize(
    ("body", "weights"),
    [
        ("y = Add(x, c)", {"c": np.full(1, 1e-12, np.float32)}),
        ("y = Add(x, c)", {"c": np.full(1, 1e-8, np.float32)}),
        ("y = Mul(x, c)", {"c": np.full(1, 1 + 1e-7, np.float32)}),
        ("y = Add(x, c)", {"c": np.array([0, 0, 1e-30, 0], np.float32)}),
        ("y = Sub(c, x)", {"c": np.zeros(1, np.float32)}),
        ("y = Div(c, x)", {"c": np.ones(1, np.float32)}),
        ("a = Cast<to = 10>(x) y = Cast<to = 1>(a)", {}),
        ("a = Cast<to = 7>(x) y = Cast<to = 1>(a)", {}),
        ("y = Slice(x, s, e, t)", {"s": np.array([-1]), "e": np.array([-9]), "t": np.array([0]), "p": np.array([-1])}),
        ("y = Transpose<perm = [0, 1]>(x)", {}),
    ],
)
def test_a_node_that_changes_its_input_stays(body, weights):
    weights.pop("p", None)
    made = model(body, **weights)
    assert after(made).graph.num_nodes() == len(made.graph.node)


def test_an_add_of_zero_that_stretches_its_input_is_refused():
    header = HEADER.replace("float[N, 4] x", "float[N, 1] x")
    made = model("a = Relu(x) b = Add(a, c) y = Exp(b)", header, c=np.zeros((1, 4), np.float32))
    assert refuses(EliminateIdentityOps(), made) == {"its constant of 0 may change the shape by broadcasting"}


def test_a_multiplication_by_one_that_adds_an_axis_is_refused():
    header = HEADER.replace("float[N, 4] y", "float[1, N, 4] y")
    made = model("a = Relu(x) b = Mul(a, c) y = Exp(b)", header, c=np.ones((1, 1, 1), np.float32))
    assert refuses(EliminateIdentityOps(), made) == {"its constant of 1 may change the shape by broadcasting"}


def test_an_identity_between_graph_input_and_output_is_refused():
    assert refuses(EliminateIdentityOps(), model("y = Identity(x)")) == {
        "its output is a graph output and the replacement cannot take that name"
    }


@pytest.mark.parametrize(
    ("body", "outputs_"),
    [
        ("y = Add(x, c)", "float[N, 4] y"),
        ("a = Neg(x) y = Neg(a)", "float[N, 4] y, float[N, 4] a"),
        ("a = Neg(x) z = Exp(a) y = Neg(a)", "float[N, 4] y, float[N, 4] z"),
    ],
)
def test_no_identity_is_put_in_where_no_other_node_would_go(body, outputs_):
    made = model(body, HEADER.replace("float[N, 4] y", outputs_), c=np.zeros(4, np.float32))
    assert refuses(EliminateIdentityOps(), made) == {NAME_LOST}


def test_two_negations_between_graph_input_and_output_become_an_identity():
    assert fires(EliminateIdentityOps(), model("a = Neg(x) y = Neg(a)")) == {"Identity": 1}


@pytest.mark.parametrize(
    ("body", "weights", "left"),
    [
        ("a = Concat<axis = 0>(x, c) y = Exp(a)", {"c": np.zeros((0, 4), np.float32)}, {"Exp": 1}),
        ("y = Concat<axis = 0>(x, c, x)", {"c": np.zeros((0, 4), np.float32)}, {"Concat": 1}),
        ("a = Where(c, x, x) y = Exp(a)", {"c": np.array([True, False, True, False])}, {"Exp": 1}),
        ("a = ReduceSum<noop_with_empty_axes = 1>(x) y = Exp(a)", {}, {"Exp": 1}),
        ("m = ReduceMax<keepdims = 0>(x) a = ReduceSum(m) y = Add(x, a)", {}, {"Add": 1, "ReduceMax": 1}),
        ("m = ReduceMax(x) a = ReduceMin(m) y = Add(x, a)", {}, {"Add": 1, "ReduceMax": 1}),
        ("m = ReduceMax<keepdims = 0>(x) a = ReduceSum<keepdims = 0>(m) y = Add(x, a)", {}, {"Add": 1, "ReduceMax": 1}),
    ],
)  # fmt: skip
def test_what_gives_one_of_its_inputs_goes(body, weights, left):
    assert fires(EliminateIdentityOps(), model(body, **weights)) == left


FIXED = HEADER.replace("N", "3")


def test_parts_without_elements_along_the_axis_of_a_concat_go():
    made = model("a = Concat<axis = 1>(x, c, x) b = Slice(a, s, e, o) y = Exp(b)", FIXED, **HALF)
    assert fires(EliminateIdentityOps(), made) == {"Concat": 1, "Exp": 1, "Slice": 1}
    (concat,) = [node for node in after(made).graph if node.op_type == "Concat"]
    assert [value.name for value in concat.inputs] == ["x", "x"]


HALF = {"c": np.zeros((3, 0), np.float32), "s": np.array([0]), "e": np.array([4]), "o": np.array([1])}


def test_parts_without_elements_along_another_axis_stay():
    body = "a = Concat<axis = 1>(x, c) b = Slice(a, s, e, o) y = Exp(b)"
    weights = HALF | {"c": np.zeros((0, 2), np.float32)}
    ignores(EliminateIdentityOps(), model(body, HEADER.replace("[N, 4]", "[0, 4]"), **weights))


def test_a_concat_along_an_axis_that_its_parts_do_not_have_is_carried_through():
    made = onnx.parser.parse_model(HEADER + "{ a = Concat<axis = 5>(x, x) y = Exp(a) }")
    assert [node.op_type for node in optimize(made).graph.node] == ["Concat", "Exp"]


def test_a_part_without_elements_in_any_axis_goes():
    made = model("a = Concat<axis = 1>(x, c) y = Exp(a)", HEADER.replace("N", "0"), c=np.zeros((0, 0), np.float32))
    assert fires(EliminateIdentityOps(), made) == {"Exp": 1}


def test_a_text_of_a_number_is_of_the_type_that_it_had():
    header = HEADER.replace("float[N, 4] y", "string[N, 4] y")
    ignores(EliminateIdentityOps(), model("a = Cast<to = 11>(x) y = Cast<to = 8>(a)", header))


def test_a_cast_to_fewer_numbers_whose_result_is_read_twice_stays():
    header = HEADER.replace("float[N, 4] x", "int32[N, 4] x").replace("float[N, 4] y", "int8[N, 4] y, float16[N, 4] z")
    made = model("a = Cast<to = 10>(x) y = Cast<to = 3>(a) z = Neg(a)", header)
    ignores(EliminateIdentityOps(), made, target="onnxruntime")


def test_a_sum_of_no_elements_is_no_sum_of_one():
    header = HEADER.replace("(float[N, 4] x)", "(float[N, 0] x)").replace("[N, 4] y", "[N, 1] y")
    ignores(EliminateIdentityOps(), model("a = ReduceSum(x, c) y = Exp(a)", header, c=np.array([1])))


def test_a_branch_of_a_where_that_is_stretched_stays():
    header = HEADER.replace("(float[N, 4] x)", "(float[1, 4] r, float[N, 4] x)")
    made = model("a = Where(c, r, x) y = Exp(a)", header, c=np.ones(4, bool))
    assert refuses(EliminateIdentityOps(), made) == {"its operands may change the shape by broadcasting"}


NUMBERS = ("bool", "int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64")
EDGES = (0, 1, -1, 0.5, -1.5, 100, 127.5, 128, -129, 255, 256, 3000, 70000, 2**31, -(2**31) - 1, 2**53 + 1, 2**62)


def casts(first):
    """A graph of all pairs of Casts that begin with `first`."""
    elem = {name: helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in NUMBERS}
    pairs = [(b, c) for b in NUMBERS for c in NUMBERS if first != b != c]
    nodes = [helper.make_node("Cast", ["x"], [f"{b}_before_{c}"], to=elem[b]) for b, c in pairs]
    nodes += [helper.make_node("Cast", [f"{b}_before_{c}"], [f"{b}_{c}"], to=elem[c]) for b, c in pairs]
    nodes += [helper.make_node("Identity", [f"{b}_{c}"], [f"{b}_to_{c}"]) for b, c in pairs]
    outputs_ = [helper.make_tensor_value_info(f"{b}_to_{c}", elem[c], ["N"]) for b, c in pairs]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", elem[first], ["N"])], outputs_)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("target", "gone"), [("portable", 269), ("onnxruntime", 326)])
def test_what_reads_past_a_cast_gives_what_it_gave(target, gone):
    fewer = 0
    for first in NUMBERS:
        made, kind = casts(first), np.dtype(first)
        optimized = ir.to_proto(run_pass(ir.from_proto(made), EliminateIdentityOps(), target)[0])
        fewer += sum(node.op_type == "Cast" for node in made.graph.node)
        fewer -= sum(node.op_type == "Cast" for node in optimized.graph.node)
        limits = None if kind.kind == "b" else np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
        edges = [edge for edge in EDGES if limits is None or limits.min <= edge <= limits.max]
        given = {"x": np.array(edges).astype(kind)}
        expected, found = outputs(made, given), outputs(optimized, given)
        for name, array in expected.items():
            np.testing.assert_array_equal(array, found[name], f"{first} to {name}")
    assert fewer == gone


@pytest.mark.parametrize("opset", [11, 17])
def test_a_reduction_of_an_axis_of_one_that_goes_becomes_a_squeeze(opset):
    body = "m = ReduceMax<axes = [1]>(x) a = ReduceMean<axes = [1], keepdims = 0>(m) y = Add(x, a)"
    header = HEADER.replace("17", str(opset)).replace("[N, 4] x", "[4, 4] x")
    assert fires(EliminateIdentityOps(), model(body, header)) == {"Add": 1, "ReduceMax": 1, "Squeeze": 1}


def test_an_identity_between_two_graph_outputs_is_refused():
    header = HEADER.replace("(float[N, 4] y)", "(float[N, 4] z, float[N, 4] y)")
    assert refuses(EliminateIdentityOps(), model("z = Relu(x) y = Identity(z)", header)) == {
        "its output is a graph output and the replacement cannot take that name"
    }


def test_an_identity_whose_input_is_read_elsewhere_leaves_both_names_in_place():
    header = HEADER.replace("(float[N, 4] y)", "(float[N, 4] y, float[N, 4] z)")
    made = model("a = Relu(x) y = Identity(a) z = Exp(a)", header)
    assert fires(EliminateIdentityOps(), made) == {"Exp": 1, "Relu": 1}
    assert [value.name for value in after(made).graph.outputs] == ["y", "z"]


def test_a_dropout_whose_mask_is_an_output_is_refused():
    header = HEADER.replace("(float[N, 4] y)", "(float[N, 4] y, bool[N, 4] m)")
    assert refuses(EliminateIdentityOps(), model("a = Relu(x) y, m = Dropout(a)", header)) == {
        "the mask of the Dropout is read"
    }


def test_a_dropout_in_training_mode_is_refused():
    made = model("a = Relu(x) y = Dropout(a, r, yes)", r=np.float32(0.5), yes=np.array(True))
    assert refuses(EliminateIdentityOps(), made) == {"the Dropout is in training mode"}


def test_a_dropout_whose_mode_is_an_input_is_refused():
    header = HEADER.replace("(float[N, 4] x)", "(float[N, 4] x, bool mode)")
    made = model("a = Relu(x) y = Dropout(a, r, mode)", header, r=np.float32(0.5))
    assert refuses(EliminateIdentityOps(), made) == {"whether the Dropout is in training mode is not known"}


def test_an_overridable_zero_is_not_taken_for_a_constant():
    made = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[N] x, float[1] c) => (float[N] y) <float[1] c = {0.0}> { y = Add(x, c) }""")
    ignores(EliminateIdentityOps(), made)


def test_an_identity_inside_a_branch_is_removed_and_the_name_of_the_branch_output_kept():
    made = in_subgraph(model("a = Relu(x) b = Identity(a) c = Exp(b) y = Identity(c)"))
    assert fires(EliminateIdentityOps(), made) == {"If": 1, "Exp": 2, "Relu": 2}


def test_an_identity_of_an_outer_value_that_a_branch_hands_out_is_refused():
    reason = "its output is a graph output and the replacement cannot take that name"
    assert refuses(EliminateIdentityOps(), in_subgraph(model("y = Identity(x)"))) == {reason}


def test_an_identity_inside_a_function_is_removed():
    made = in_function(model("a = Relu(x) b = Identity(a) y = Exp(b)"))
    assert fires(EliminateIdentityOps(), made) == {"Exp": 1, "Relu": 1, "test.local:Body": 1}


def test_an_identity_inside_a_loop_body_is_removed():
    made = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 4] x) => (float[N, 4] y) {
    trips = Constant<value = int64 {3}>()
    go = Constant<value = bool {1}>()
    y = Loop<body = body (int64 i, bool on, float[N, 4] s) => (bool on_out, float[N, 4] s_out) {
        on_out = Identity(on)
        a = Identity(s)
        b = Relu(a)
        c = Identity(b)
        s_out = Add(c, x)
    }>(trips, go, x)
}""")
    assert fires(EliminateIdentityOps(), made) == {"Add": 1, "Identity": 1, "Loop": 1, "Relu": 1}


NAME_LOST = "its output is a graph output and the replacement cannot take that name"
STRETCHES = "its constant of {} may change the shape by broadcasting"


def case(rule, body, *, refused=None, reason=NAME_LOST, dtype="float", more="", left=0, **weights):
    """`body` from {a} to {b}, with nodes around; `refused`, or refused where {a} is the graph input and {b} the output.

    `more` are further outputs of the refused graph; `left` says how many nodes of the operator stay.
    """
    header = f'<ir_version: 8, opset_import: ["": 17]> agraph ({dtype}[N, 4] x) => ({dtype}[N, 4] y%s) {{%s}}'
    start, end = ("a = Xor(x, x)", "y = Xor(b, x)") if dtype == "bool" else ("a = Exp(x)", "y = Tanh(b)")
    around = {"Xor": 2} if dtype == "bool" else {"Exp": 1, "Tanh": 1}
    direct = header % (more, body.format(a="x", b="y"))
    return RuleCase(
        pass_=EliminateIdentityOps(),
        rule=rule,
        fires=make(header % ("", f"{start} {body.format(a='a', b='b')} {end}"), **weights),
        counts=around | ({rule: left} if left else {}),
        refused=make(direct, **weights) if refused is None else refused,
        reason=reason,
    )


def stretching(op, element):
    """An operator with a constant of `element` that makes N rows of one into N rows of four."""
    header = HEADER.replace("float[N, 4] x", "float[N, 1] x")
    return model(f"a = Relu(x) y = {op}(a, c)", header, c=np.full((1, 4), element, np.float32))


def stretching_booleans(op, element):
    header = HEADER.replace("float[N, 4] x", "bool[N, 1] x").replace("float", "bool")
    return model(f"a = Not(x) y = {op}(a, c)", header, c=np.full((1, 4), element))


CASES = (
    case("Identity", "{b} = Identity({a})"),
    case(
        "Dropout",
        "{b} = Dropout({a})",
        refused=model("a = Relu(x) y = Dropout(a, r, yes)", r=np.float32(0.5), yes=np.array(True)),
        reason="the Dropout is in training mode",
    ),
    *(case(op, f"{{b}} = {op}({{a}})") for op in ("Max", "Mean", "Min", "Sum")),
    case("Concat", "{b} = Concat<axis = 1>({a})"),
    case("Cast", "{b} = Cast<to = 1>({a})"),
    case("CastLike", "{b} = CastLike({a}, x)"),
    case("Cast of a Cast", "{b}0 = Cast<to = 11>({a}) {b} = Cast<to = 1>({b}0)", more=", double[N, 4] y0"),
    case("Reshape", "{b} = Reshape({a}, c)", c=np.array([0, 4])),
    case("Expand", "{b} = Expand({a}, c)", c=np.array([1, 4])),
    case("Flatten", "{b} = Flatten({a})"),
    case("Tile", "{b} = Tile({a}, c)", c=np.array([1, 1])),
    case("Pad", "{b} = Pad({a}, c)", c=np.zeros(4, np.int64)),
    case("Slice", "{b} = Slice({a}, s, e)", s=np.array([0, 0]), e=np.array([2**62, 4])),
    case("Transpose", "{b} = Transpose<perm = [0, 1]>({a})"),
    *(
        case(
            op,
            f"{{b}} = {op}({{a}}, c)",
            refused=stretching(op, element),
            reason=STRETCHES.format(element),
            c=np.full((1, 4), element, np.float32),
        )
        for op, element in (("Add", 0), ("Sub", 0), ("Mul", 1), ("Div", 1), ("Pow", 1))
    ),
    *(
        case(
            op,
            f"{{b}} = {op}({{a}}, c)",
            dtype="bool",
            refused=stretching_booleans(op, element),
            reason=STRETCHES.format(int(element)),
            c=np.full((1, 4), element),
        )
        for op, element in (("And", True), ("Or", False))
    ),
    *(
        case(op, f"{{b}}0 = {op}({{a}}) {{b}} = {op}({{b}}0)", more=", float[N, 4] y0", left=1)
        for op in ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign")
    ),
    case("Neg", "{b}0 = Neg({a}) {b} = Neg({b}0)", more=", float[N, 4] y0"),
    case("Not", "{b}0 = Not({a}) {b} = Not({b}0)", dtype="bool", more=", bool[N, 4] y0"),
    case(
        "Where",
        "{b} = Where(c, {a}, x)",
        refused=model(
            "a = Relu(x) y = Where(c, a, x)", HEADER.replace("float[N, 4] x", "float[N, 1] x"), c=np.ones((1, 4), bool)
        ),
        reason="its operands may change the shape by broadcasting",
        c=np.ones((1, 4), bool),
    ),
)
