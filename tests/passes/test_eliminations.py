"""Dead nodes, unused initializers and duplicate constants."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.eliminate_dead_nodes import EliminateDeadNodes
from pytest_modelcheck.passes.eliminate_duplicate_constants import EliminateDuplicateConstants
from pytest_modelcheck.passes.eliminate_unused_initializers import EliminateUnusedInitializers
from pytest_modelcheck.pipeline import optimize, run_pass
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

DEAD_CHAIN = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 4] x) => (float[N, 4] y) {
    a = Exp(x)
    b = Neg(a)
    y = Relu(x)
}"""

TWICE = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 2] x) => (float[N, 2] y) {
    a = Add(x, one)
    b = Mul(a, uno)
    c = Constant<value = float[2] {1.0, 2.0}>()
    y = Sub(b, c)
}"""


def initializers(model):
    return set(run_pass(ir.from_proto(model), EliminateDuplicateConstants())[0].graph.initializers)


def test_a_chain_that_nobody_reads_is_removed_to_its_start():
    assert fires(EliminateDeadNodes(), make(DEAD_CHAIN)) == {"Relu": 1}


def test_a_dead_chain_inside_a_branch_is_removed():
    assert fires(EliminateDeadNodes(), in_subgraph(make(DEAD_CHAIN))) == {"If": 1, "Relu": 2}


def test_a_dead_chain_inside_a_function_is_removed():
    assert fires(EliminateDeadNodes(), in_function(make(DEAD_CHAIN))) == {"Relu": 1, "test.local:Body": 1}


def test_a_function_that_nobody_calls_is_removed_with_the_one_it_calls():
    model = make(DEAD_CHAIN.replace("a = Exp(x)", "").replace("b = Neg(a)", ""))
    for name, body in (("Outer", "Inner"), ("Inner", "")):
        node = make(DEAD_CHAIN).graph.node[0]
        function = model.functions.add(name=name, domain="test.local", input=["x"], output=["a"])
        function.node.append(node)
        function.opset_import.extend(model.opset_import)
        if body:
            function.node[0].op_type, function.node[0].domain = body, "test.local"
            function.opset_import.add(domain="test.local", version=1)
    model.opset_import.add(domain="test.local", version=1)
    assert fires(EliminateDeadNodes(), model) == {"Relu": 1}


def test_an_if_that_nobody_reads_takes_what_only_its_branches_read_along():
    model = in_subgraph(make(DEAD_CHAIN))
    before = ir.from_proto(model)
    read_by_branch = ir.node("Exp", [before.graph.inputs[0]], name="only_for_the_branch")
    read_by_branch.outputs[0].name = "captured"
    choice = next(node for node in before.graph if node.op_type == "If")
    before.graph.insert_before(choice, read_by_branch)
    for branch in ("then_branch", "else_branch"):
        for node in choice.attributes[branch].as_graph():
            if node.op_type == "Relu":
                node.replace_input_with(0, read_by_branch.outputs[0])
    kept = ir.node("Identity", [before.graph.inputs[0]], name="kept")
    kept.outputs[0].name, kept.outputs[0].type = "kept", before.graph.outputs[0].type
    kept.outputs[0].shape = before.graph.outputs[0].shape
    before.graph.append(kept)
    before.graph.outputs[0] = kept.outputs[0]
    after, record = run_pass(before, EliminateDeadNodes())
    assert record.error is None
    assert [node.op_type for node in after.graph] == ["Identity"]


def test_a_node_of_which_one_output_is_read_stays():
    ignores(
        EliminateDeadNodes(),
        make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[4] x) => (float[2] y) { y, unread = Split<axis = 0>(x) }"""),
    )


def test_an_initializer_that_nobody_reads_is_removed():
    model = make(TWICE, one=np.ones(2, np.float32), uno=np.ones(2, np.float32), unread=np.ones(9, np.float32))
    after, record = run_pass(ir.from_proto(model), EliminateUnusedInitializers())
    assert record.changed
    assert set(after.graph.initializers) == {"one", "uno"}


def test_an_initializer_that_only_a_branch_reads_stays():
    model = in_subgraph(make(TWICE, one=np.ones(2, np.float32), uno=np.ones(2, np.float32)))
    ignores(EliminateUnusedInitializers(), model)


def test_an_unread_initializer_of_a_branch_is_removed():
    model = ir.from_proto(in_subgraph(make(DEAD_CHAIN)))
    branch = next(iter(model.graph)).attributes["then_branch"].as_graph()
    tensor = ir.tensor(np.ones(3, np.float32), name="unread")
    branch.register_initializer(ir.Value(name="unread", const_value=tensor, type=ir.TensorType(tensor.dtype)))
    after, record = run_pass(model, EliminateUnusedInitializers())
    assert record.changed
    assert not next(iter(after.graph)).attributes["then_branch"].as_graph().initializers


def test_an_unread_default_of_a_graph_input_is_refused():
    model = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x, float[2] unread) => (float[2] y) <float[2] unread = {1.0, 2.0}> { y = Relu(x) }""")
    assert refuses(EliminateUnusedInitializers(), model) == {"it is the default value of a graph input"}


def test_equal_initializers_and_constant_nodes_become_one():
    model = make(TWICE, one=np.array([1, 2], np.float32), uno=np.array([1, 2], np.float32))
    fires(EliminateDuplicateConstants(), model)
    assert len(initializers(model)) == 1


def test_a_constant_of_a_branch_is_replaced_by_an_equal_one_outside():
    model = make(TWICE, one=np.array([1, 2], np.float32), uno=np.array([1, 2], np.float32))
    after, _ = run_pass(ir.from_proto(in_subgraph(model)), EliminateDuplicateConstants())
    fires(EliminateDuplicateConstants(), in_subgraph(model))
    assert not [node for node in after.graph.all_nodes() if node.op_type == "Constant"]


def test_equal_constants_of_a_function_become_one():
    model = make(TWICE, one=np.array([1, 2], np.float32), uno=np.array([1, 2], np.float32))
    fires(EliminateDuplicateConstants(), in_function(model))


def test_zero_and_minus_zero_and_other_dtypes_and_shapes_are_not_equal():
    text = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[1] x) => (float[1] y, int64[1] z) {
    a = Add(x, zero)
    b = Add(a, minus)
    y = Add(b, scalar)
    z = Identity(number)
}"""
    ignores(
        EliminateDuplicateConstants(),
        make(
            text,
            zero=np.zeros(1, np.float32),
            minus=-np.zeros(1, np.float32),
            scalar=np.array(0, np.float32),
            number=np.zeros(1, np.int64),
        ),
    )


def test_large_constants_that_differ_in_one_unsampled_element_are_not_merged():
    one, uno = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    uno[13, 7] = 1e-30
    text = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[64, 64] x) => (float[64, 64] y) { a = Add(x, one)  y = Mul(a, uno) }"""
    ignores(EliminateDuplicateConstants(), make(text, one=one, uno=uno))


@pytest.mark.filterwarnings("ignore:All-NaN slice")
def test_nan_constants_with_equal_bytes_are_one():
    text = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[1] x) => (float[1] y) { a = Add(x, one)  y = Mul(a, uno) }"""
    nan = np.array([np.nan], np.float32)
    fires(EliminateDuplicateConstants(), make(text, one=nan, uno=nan))


def test_an_overridable_default_is_not_merged_with_an_equal_constant():
    model = make(
        """<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x, float[2] d) => (float[2] y) <float[2] d = {1.0, 2.0}> { a = Add(x, d)  y = Mul(a, one) }""",
        one=np.array([1, 2], np.float32),
    )
    ignores(EliminateDuplicateConstants(), model)


TIED = """<ir_version: 10, opset_import: ["": 17]> g (int64[n] ids, float[n, 30] x) => (float[n, 4000] y) {
    e = Gather(words, ids) s = Add(e, x) y = MatMul(s, head) }"""
WORDS = np.random.default_rng(0).normal(size=(4000, 30)).astype(np.float32)


@pytest.mark.parametrize("exchanged", [False, True])
def test_an_embedding_and_the_head_beside_it_are_stored_once(exchanged):
    weights = {"words": WORDS, "head": np.ascontiguousarray(WORDS.T)}
    model = make(TIED, **dict(reversed(weights.items())) if exchanged else weights)
    fires(EliminateDuplicateConstants(), model)
    optimized = optimize(model)
    assert [node.op_type for node in optimized.graph.node] == ["Gather", "Add", "Gemm"]
    assert [weight.name for weight in optimized.graph.initializer] == ["words"]
    assert optimized.ByteSize() < 0.51 * model.ByteSize()


def test_a_head_of_activations_keeps_its_own_weights():
    text = TIED.replace("float[n, 30] x", "float[b, n, 30] x").replace("float[n, 4000] y", "float[b, n, 4000] y")
    model = make(text, words=WORDS, head=np.ascontiguousarray(WORDS.T))
    assert refuses(EliminateDuplicateConstants(), model) == {
        "it is the transpose of another one, and not only products of matrices read it"
    }


def test_a_duplicate_whose_name_is_a_graph_output_is_refused():
    model = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[1] x) => (float[1] y, float[1] z) {
    z = Constant<value = float[1] {1.0}>()
    w = Constant<value = float[1] {1.0}>()
    y = Add(x, w)
}""")
    fires(EliminateDuplicateConstants(), model)
    both = make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[1] x) => (float[1] y, float[1] z) {
    y = Constant<value = float[1] {1.0}>()
    z = Constant<value = float[1] {1.0}>()
}""")
    assert refuses(EliminateDuplicateConstants(), both) == {
        "its output is a graph output and the replacement cannot take that name"
    }


HEADER = '<ir_version: 8, opset_import: ["": 17]> agraph '
NAME_LOST = "its output is a graph output and the replacement cannot take that name"


def with_a_dead_call():
    """A dead call of a function that nothing else calls."""
    model = make(DEAD_CHAIN.replace("b = Neg(a)", "").replace("a = Exp(x)", "a = Neg(x)"))
    (node,) = (node for node in model.graph.node if node.op_type == "Neg")
    function = model.functions.add(name="Outer", domain="test.local", input=["x"], output=["a"])
    function.node.add(op_type="Exp", input=["x"], output=["a"])
    function.opset_import.extend(model.opset_import)
    model.opset_import.add(domain="test.local", version=1)
    node.op_type, node.domain = "Outer", "test.local"
    return model


def with_an_unread_initializer(nested):
    """`nested` with an initializer in the subgraphs of its node, which nothing reads."""
    (holder,) = nested.graph.node
    for attribute in holder.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            unread = onnx.numpy_helper.from_array(np.ones(3, np.float32), f"unread_{attribute.name}")
            attribute.g.initializer.append(unread)
    return nested


CASES = (
    RuleCase(
        pass_=EliminateDeadNodes(),
        rule="node",
        fires=make(DEAD_CHAIN),
        counts={"Relu": 1},
        refused=None,
        reason="",
    ),
    RuleCase(
        pass_=EliminateDeadNodes(),
        rule="function",
        fires=with_a_dead_call(),
        counts={"Relu": 1},
        refused=None,
        reason="",
    ),
    RuleCase(
        pass_=EliminateUnusedInitializers(),
        rule="eliminate_unused_initializers",
        fires=make(HEADER + "(float[2] x) => (float[2] y) { y = Relu(x) }", unread=np.ones(9, np.float32)),
        nested=with_an_unread_initializer,
        refused=make(
            HEADER
            + """(float[2] x, float[2] unread) => (float[2] y)
            <float[2] unread = {1.0, 2.0}> { y = Relu(x) }"""
        ),
        reason="it is the default value of a graph input",
    ),
    RuleCase(
        pass_=EliminateDuplicateConstants(),
        rule="eliminate_duplicate_constants",
        fires=make(TWICE, one=np.array([1, 2], np.float32), uno=np.array([1, 2], np.float32)),
        refused=make(
            HEADER
            + """(float[1] x) => (float[1] y, float[1] z) {
                y = Constant<value = float[1] {1.0}>() z = Constant<value = float[1] {1.0}>()
            }"""
        ),
        reason=NAME_LOST,
    ),
)
