"""Folding: what is computed once, how large it may be, and what is left alone."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from pytest_modelcheck.passes.fold_constants import FoldConstants
from pytest_modelcheck.pipeline import PassStatus, run_pass
from pytest_modelcheck.rewriting.rewriter import Rewriter
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, outputs, refuses
from tests.passes.rule_cases import RuleCase

TRANSPOSED_WEIGHT = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 4] x) => (float[N, 2] y) {
    t = Transpose<perm = [1, 0]>(w)
    c = Cast<to = 1>(t)
    y = MatMul(x, c)
}"""
WEIGHT = {"w": np.arange(8, dtype=np.float32).reshape(2, 4)}


def folded(model, **options):
    return run_pass(ir.from_proto(model), FoldConstants(**options))[0]


def test_a_transposed_weight_becomes_an_initializer_and_the_original_goes():
    assert fires(FoldConstants(), make(TRANSPOSED_WEIGHT, **WEIGHT)) == {"MatMul": 1}
    model = folded(make(TRANSPOSED_WEIGHT, **WEIGHT))
    (value,) = model.graph.initializers.values()
    assert np.array_equal(value.const_value.numpy(), WEIGHT["w"].T)
    assert not [node for node in model.graph if node.op_type == "Constant"]


def test_a_chain_inside_a_branch_is_folded():
    assert fires(FoldConstants(), in_subgraph(make(TRANSPOSED_WEIGHT, **WEIGHT)))["MatMul"] == 2


def test_a_chain_inside_a_function_becomes_a_constant_node():
    made = in_function(make(TRANSPOSED_WEIGHT, **WEIGHT))
    assert fires(FoldConstants(), made) == {"MatMul": 1, "test.local:Body": 1}


def test_a_result_that_two_nodes_read_is_folded_once():
    made = make(
        TRANSPOSED_WEIGHT.replace("y = MatMul(x, c)", "a = MatMul(x, c) s = ReduceSum(c) y = Add(a, s)"), **WEIGHT
    )
    assert fires(FoldConstants(), made) == {"Add": 1, "MatMul": 1}


def test_one_int64_constant_does_not_keep_the_others_from_being_folded():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[4] x, int64[2] i) => (float[2, 2] y, int64[2] j) {
    n = Neg(number)
    j = Add(i, n)
    s = Sqrt(w)
    a = Mul(x, s)
    two = Constant<value_ints = [2, 2]>()
    y = Reshape(a, two)
}""",
        number=np.array([1, 2]),
        w=np.array([1, 2, 3, 4], np.float32),
    )
    assert fires(FoldConstants(), made) == {"Add": 1, "Mul": 1, "Reshape": 1}


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_every_number_type_is_folded_to_the_same_type(dtype):
    array = np.array([[1, 2], [3, 4]], dtype)
    elem = helper.np_dtype_to_tensor_dtype(array.dtype)
    graph = helper.make_graph(
        [helper.make_node("Transpose", ["w"], ["t"]), helper.make_node("Concat", ["x", "t"], ["y"], axis=0)],
        "g",
        [helper.make_tensor_value_info("x", elem, ["N", 2])],
        [helper.make_tensor_value_info("y", elem, ["M", 2])],
        [onnx.numpy_helper.from_array(array, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    after = folded(made)
    assert [node.op_type for node in after.graph] == ["Concat"]
    assert outputs(ir.to_proto(after), {"x": array})["y"].dtype == array.dtype


def test_bfloat16_and_strings_are_folded():
    made = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Cast", ["w"], ["b"], to=onnx.TensorProto.BFLOAT16),
                helper.make_node("Cast", ["b"], ["f"], to=onnx.TensorProto.FLOAT),
                helper.make_node("Add", ["x", "f"], ["y"]),
                helper.make_node("Concat", ["s", "s"], ["ss"], axis=0),
                helper.make_node("Equal", ["ss", "z"], ["e"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", 1, [2]), helper.make_tensor_value_info("z", 8, [2])],
            [helper.make_tensor_value_info("y", 1, [2]), helper.make_tensor_value_info("e", 9, [2])],
            [
                onnx.numpy_helper.from_array(np.array([1.01, 2], np.float32), "w"),
                helper.make_tensor("s", onnx.TensorProto.STRING, [1], [b"a"]),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 19)],
        ir_version=9,
    )
    after = folded(made, max_growth_bytes=100)
    assert [node.op_type for node in after.graph] == ["Add", "Equal"]
    found = outputs(ir.to_proto(after), {"x": np.zeros(2, np.float32), "z": np.array(["a", "b"], object)})
    assert found["e"].tolist() == [True, False]
    assert found["y"][0] == np.float32(1.0078125)


def test_the_shape_of_a_value_of_static_shape_is_folded():
    made = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[2, 3] x, float[N, 6] z) => (float[3, 2] y, int64[1] n, int64 m) {
    s = Shape<start = 1>(x)
    two = Constant<value_ints = [2]>()
    t = Concat<axis = 0>(s, two)
    y = Reshape(x, t)
    n = Shape<start = 0, end = 1>(z)
    m = Size(x)
}""")
    assert fires(FoldConstants(), made) == {"Reshape": 1, "Shape": 1}


def test_shapes_that_each_follow_from_the_fold_before_need_no_further_inference(monkeypatch):
    asked = []
    monkeypatch.setattr(Rewriter, "infer_shapes", lambda rewriter: asked.append(rewriter))
    lines = [
        f"s{i} = Shape({x}) p{i} = ReduceProd<keepdims = 1>(s{i}) r{i} = Reshape({x}, p{i}) x{i} = Relu(r{i})"
        for i, x in enumerate(["x", "x0", "x1"])
    ]
    made = make(HEADER + "(float[2, 8] x) => (float[16] y) {\n" + "\n".join(lines) + "\ny = Relu(x2) }")
    assert fires(FoldConstants(), made) == {"Reshape": 3, "Relu": 4}
    assert asked == []


def half_its_size_padded(*, first="x"):
    """Three Pads, each by half of the size of `first` or of the Pad before, computed in floats as timm's padding is."""
    lines = []
    for measured, padded, result in ((first, "x", "a"), ("a", "a", "b"), ("b", "b", "c")):
        lines.append(
            f"s{result} = Shape<start = 1>({measured}) f{result} = Cast<to = 1>(s{result}) "
            f"h{result} = Mul(f{result}, half) r{result} = Ceil(h{result}) k{result} = Cast<to = 7>(r{result}) "
            f"p{result} = Concat<axis = 0>(none, k{result}) {result} = Pad({padded}, p{result})"
        )
    text = HEADER + "(float[2, 5] x, float[2, n] d) => (float[2, m] y) {\n" + "\n".join(lines) + "\ny = Relu(c) }"
    return make(text, half=np.array(0.5, np.float32), none=np.zeros(3, np.int64))


def test_what_a_folded_pad_makes_static_is_folded_in_the_same_run():
    assert fires(FoldConstants(), half_its_size_padded()) == {"Pad": 3, "Relu": 1}
    assert fires(FoldConstants(), in_subgraph(half_its_size_padded()))["Pad"] == 6


def test_a_pad_by_amounts_that_an_input_decides_stays_and_so_does_what_depends_on_it():
    model = half_its_size_padded(first="d")
    ignores(FoldConstants(), model)


def test_shapes_are_not_inferred_again_where_no_shape_waits_for_them(monkeypatch):
    asked = []
    monkeypatch.setattr(Rewriter, "infer_shapes", lambda rewriter: asked.append(rewriter))
    folded(
        make(
            HEADER + "(float[2, 5] x) => (float[2, m] y) { p = Cast<to = 7>(f) a = Pad(x, p) y = Relu(a) }",
            f=np.array([0, 0, 0, 3], np.float32),
        )
    )
    assert asked == []
    folded(half_its_size_padded())
    assert len(asked) == 1  # and never twice for one Pad, though this inference told nothing


def test_a_constant_output_keeps_its_name_and_is_a_constant_node():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x) => (float[2] y, float[2] z) { y = Exp(w) z = Relu(x) }""",
        w=np.ones(2, np.float32),
    )
    assert fires(FoldConstants(), made) == {"Relu": 1}


EXPANDED = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[64, 64] x) => (float[64, 64] y) { n = Neg(w) e = Expand(n, s) y = Add(x, e) }"""


def test_a_fold_that_would_make_the_file_larger_is_refused_and_what_is_before_it_folded():
    made = make(EXPANDED, w=np.ones((1, 1), np.float32), s=np.array([64, 64]))
    assert fires(FoldConstants(max_growth_bytes=0), made) == {"Add": 1, "Expand": 1}
    _, record = run_pass(ir.from_proto(made), FoldConstants(max_growth_bytes=0))
    assert [refusal.reason for refusal in record.refusals] == ["folding would exceed the size budget"]


@pytest.mark.parametrize(("allowed", "expected"), [(16107, {"Add": 1, "Expand": 1}), (16108, {"Add": 1})])
def test_the_size_limit_is_exact_and_can_be_raised(allowed, expected):
    made = make(EXPANDED, w=np.ones((1, 1), np.float32), s=np.array([64, 64]))
    assert fires(FoldConstants(max_growth_bytes=allowed), made) == expected


def test_a_weight_that_something_else_reads_is_not_stored_twice():
    made = make(
        TRANSPOSED_WEIGHT.replace("y = MatMul(x, c)", "a = MatMul(x, c) b = MatMul(a, v) y = MatMul(b, c)").replace(
            "w)\n", "v)\n"
        ),
        v=np.ones((200, 400), np.float32).reshape(2, -1)[:, :4],
    )
    assert fires(FoldConstants(), made, tolerance=1e-4)["MatMul"] == 3
    large = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 64] x) => (float[N, 64] y) {
    t = Transpose<perm = [1, 0]>(w)
    a = MatMul(x, t)
    y = MatMul(a, w)
}""",
        w=np.ones((64, 64), np.float32),
    )
    assert refuses(FoldConstants(max_growth_bytes=0), large) == {"folding would exceed the size budget"}


def test_a_random_operator_is_refused():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x) => (float[2] y) { r = RandomNormalLike(w) y = Add(x, r) }""",
        w=np.ones(2, np.float32),
    )
    assert refuses(FoldConstants(), made) == {"its result is random"}


def test_an_overridable_default_is_not_a_constant():
    made = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1.0, 2.0}> { e = Exp(w) y = Add(x, e) }""")
    ignores(FoldConstants(), made)


def test_a_node_of_another_domain_is_left_alone():
    made = make(
        """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
agraph (float[2] x) => (float[2] y) { e = com.microsoft.Gelu(w) y = Add(x, e) }""",
        w=np.ones(2, np.float32),
    )
    ignores(FoldConstants(), made)


BRANCHES = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x) => (float[2] y) {
    a = Exp(x)
    b = If<then_branch = t () => (float[2] r) { q = Neg(a) r = Abs(q) },
           else_branch = e () => (float[2] r) { q = Sqrt(x) r = Relu(q) }>(choice)
    y = Add(b, a)
}"""


@pytest.mark.filterwarnings("ignore:All-NaN slice")
@pytest.mark.parametrize(("choice", "kept"), [(True, {"Abs": 1, "Neg": 1}), (False, {"Relu": 1, "Sqrt": 1})])
def test_an_if_with_a_constant_condition_is_replaced_by_the_branch_that_runs(choice, kept):
    made = make(BRANCHES, choice=np.array(choice))
    assert fires(FoldConstants(), made) == {"Add": 1, "Exp": 1, **kept}


def test_an_if_inside_the_branch_that_runs_is_inlined_too():
    nested = BRANCHES.replace(
        "q = Neg(a) r = Abs(q)",
        """one = Constant<value = float[2] {1.0, 2.0}>()
        q = If<then_branch = tt () => (float[2] u) { u = Mul(a, one) },
               else_branch = ee () => (float[2] u) { u = Div(a, one) }>(choice)
        r = Abs(q)""",
    )
    assert fires(FoldConstants(), make(nested, choice=np.array(True))) == {"Abs": 1, "Add": 1, "Exp": 1, "Mul": 1}


def test_an_if_whose_result_is_a_graph_output_keeps_the_output_name():
    made = make(BRANCHES.replace("b = If", "y = If").replace("y = Add(b, a)", ""), choice=np.array(True))
    assert fires(FoldConstants(), made) == {"Abs": 1, "Exp": 1, "Neg": 1}


def test_what_the_evaluator_cannot_do_is_refused_and_the_rest_is_folded():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x) => (float[2] y) { i = GatherND(w, bad) e = Exp(w) a = Add(x, e) y = Add(a, i) }""",
        w=np.ones(2, np.float32),
        bad=np.array([[7], [9]]),
    )
    after, record = run_pass(ir.from_proto(made), FoldConstants())
    assert record.status is PassStatus.FIRED
    assert [node.op_type for node in after.graph] == ["GatherND", "Add", "Add"]
    assert record.refusals[0].reason == "onnxruntime cannot compute GatherND on these constants"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = SequenceConstruct(x, x) n = SequenceLength(s)", 2),
        ("s = SequenceConstruct(x) t = SequenceInsert(s, x) u = SequenceErase(t) n = SequenceLength(u)", 1),
        ("s = SequenceEmpty() t = SequenceInsert(s, x) n = SequenceLength(t)", 1),
        ("s = SequenceConstruct(x, x) t = SequenceInsert(s, x) n = SequenceLength(t)", 3),
        ("h = OptionalHasElement() n = Cast<to = 7>(h)", 0),
        ("h = OptionalHasElement(x) n = Cast<to = 7>(h)", 1),
        ("o = Optional(x) h = OptionalHasElement(o) n = Cast<to = 7>(h)", 1),
    ],
)
def test_what_does_not_depend_on_what_the_inputs_hold_is_known(body, expected):
    model = make(f"""<ir_version: 10, opset_import: ["": 18]>
agraph (float[k] x) => (int64 y) {{ {body} y = Neg(n) }}""")
    (constant,) = folded(model).graph
    assert constant.op_type == "Constant"
    assert constant.attributes["value"].as_tensor().numpy() == -expected


def test_an_optional_that_is_made_of_nothing_has_no_element():
    made = make("""<ir_version: 10, opset_import: ["": 18]>
agraph (float[k] x) => (bool y) { o = Optional(x) h = OptionalHasElement(o) y = Not(h) }""")
    del made.graph.node[0].input[:]
    made.graph.node[0].attribute.append(helper.make_attribute("type", helper.make_tensor_type_proto(1, ["k"])))
    (constant,) = folded(made).graph
    assert constant.attributes["value"].as_tensor().numpy()


def test_a_part_of_a_static_shape_is_that_part():
    made = make("""<ir_version: 10, opset_import: ["": 18]>
agraph (float[2, 3, 5] x) => (int64[k] y) { s = Shape<start = 1, end = -1>(x) y = Neg(s) }""")
    (constant,) = folded(made).graph
    assert constant.attributes["value"].as_tensor().numpy().tolist() == [-3]


def test_a_sequence_of_another_domain_has_any_length():
    ignores(
        FoldConstants(),
        make("""<ir_version: 10, opset_import: ["": 18, "local": 1]>
agraph (float[k] x) => (int64 y) { s = local.SequenceConstruct(x) l = SequenceLength(s) y = Neg(l) }
<domain: "local", opset_import: ["": 18]>
SequenceConstruct (x) => (s) { s = SequenceConstruct(x, x) }"""),
    )


def test_a_sequence_that_comes_from_outside_has_any_length():
    model = make("""<ir_version: 10, opset_import: ["": 18]>
agraph (seq(float[k]) s) => (int64 y) { l = SequenceLength(s) y = Neg(l) }""")
    ignores(FoldConstants(), model)


def test_an_optional_that_comes_from_outside_may_be_empty():
    model = make("""<ir_version: 10, opset_import: ["": 18]>
agraph (optional(float[k]) o) => (bool y) { h = OptionalHasElement(o) y = Not(h) }""")
    ignores(FoldConstants(), model)


def test_an_identity_of_a_constant_that_is_an_output_becomes_a_constant():
    model = make(
        """<ir_version: 8, opset_import: ["": 17]> agraph () => (float[2] y) { y = Identity(w) }""",
        w=np.ones(2, np.float32),
    )
    assert [node.op_type for node in folded(model).graph] == ["Constant"]


def test_an_unsqueeze_by_attribute_is_folded_though_the_reference_refuses_it():
    model = make(
        """<ir_version: 8, opset_import: ["": 11]> agraph () => (float[1, 2] y) { y = Unsqueeze<axes = [0]>(w) }""",
        w=np.ones(2, np.float32),
    )
    assert [node.op_type for node in folded(model).graph] == ["Constant"]


def test_the_declared_shape_of_a_graph_output_is_not_taken_for_a_fact():
    made = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[n, 4] x) => (float[2, 4] y, int64[2] s) { y = Relu(x) s = Shape(y) }"""
    )
    assert refuses(FoldConstants(), made) == {"the shape of a graph output is declared, which proves nothing"}
    after = folded(made)
    assert outputs(ir.to_proto(after), {"x": np.zeros((5, 4), np.float32)})["s"].tolist() == [5, 4]


HEADER = '<ir_version: 8, opset_import: ["": 17]> agraph '
CASES = (
    RuleCase(
        pass_=FoldConstants(),
        rule="node",
        fires=make(TRANSPOSED_WEIGHT, **WEIGHT),
        counts={"MatMul": 1},
        refused=make(
            HEADER + "(float[2] x) => (float[2] y) { r = RandomNormalLike(w) y = Add(x, r) }", w=np.ones(2, np.float32)
        ),
        reason="its result is random",
    ),
    RuleCase(
        pass_=FoldConstants(),
        rule="shape",
        fires=make(HEADER + "(float[2, 3] x, float[6] z) => (float[2, 3] y) { s = Shape(x) y = Reshape(z, s) }"),
        counts={"Reshape": 1},
        refused=make(HEADER + "(float[n, 4] x) => (float[2, 4] y, int64[2] s) { y = Relu(x) s = Shape(y) }"),
        reason="the shape of a graph output is declared, which proves nothing",
    ),
    RuleCase(
        pass_=FoldConstants(),
        rule="if",
        fires=make(BRANCHES, choice=np.array(True)),
        counts={"Abs": 1, "Add": 1, "Exp": 1, "Neg": 1},
        refused=make(
            HEADER
            + """(float[2] x) => (float[2] y) {
            y = If<then_branch = t () => (float[2] r) <float[2] r = {1.0, 2.0}> { },
                   else_branch = e () => (float[2] r) { r = Relu(x) }>(choice) }""",
            choice=np.array(True),
        ),
        reason="the branch hands a constant or one value twice to a graph output",
    ),
)


@pytest.mark.parametrize("dtype", ["float", "float16", "double"])
@pytest.mark.parametrize("place", [lambda model: model, in_function])
def test_a_constant_cast_like_a_value_needs_its_type_alone(place, dtype):
    """dynamo writes the scale of an attention so where its optimizer is off."""
    text = f"""<ir_version: 10, opset_import: ["" : 18]> g ({dtype}["n", 4] x) => ({dtype}["n", 4] y)
        {{ two = Constant<value_float: float = 2.0>() c = CastLike(two, x) s = Sqrt(c) y = Mul(x, s) }}"""
    counts = fires(FoldConstants(), place(make(text)), tolerance=2e-3 if dtype == "float16" else 1e-6)
    assert {"CastLike", "Sqrt"}.isdisjoint(counts)
