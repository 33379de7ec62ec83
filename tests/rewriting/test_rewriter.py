"""The one way in which passes edit a graph: names, owners, outputs and what dies with a rewrite."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.metadata import OWNER_KEY, contributors
from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from pytest_modelcheck.passes.eliminate_redundant_transposes import EliminateRedundantTransposes
from pytest_modelcheck.pipeline import optimize
from pytest_modelcheck.rewriting.pass_base import Pass
from pytest_modelcheck.rewriting.rewriter import Rewriter
from tests.passes.fusing_checks import in_function, in_subgraph, make

CHAIN = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[n, 4] x) => (float[n, 4] y) {
    a = Add(x, w)
    b = Identity(a)
    c = Identity(b)
    y = Exp(c)
}"""
WEIGHT = {"w": np.ones(4, np.float32)}


def rewriter_for(model, **options):
    return Rewriter(ir.from_proto(model), pass_name="test", target="portable", **options)


def named(rewriter, op_type):
    return next(node for node in rewriter.nodes(op_type))


def test_new_names_are_taken_by_nothing_in_any_scope():
    rewriter = rewriter_for(in_subgraph(make(CHAIN, **WEIGHT)))
    made = {rewriter.new_value_name("a_then") for _ in range(3)}
    assert len(made) == 3
    taken = {value.name for graph in rewriter.model.graphs() for node in graph for value in node.outputs}
    assert not made & taken


def test_replacing_the_producer_of_a_graph_output_moves_name_type_and_shape():
    rewriter = rewriter_for(make(CHAIN, **WEIGHT))
    node = named(rewriter, "Exp")
    made = rewriter.node("Neg", [node.inputs[0]], like=node.outputs[0])
    assert rewriter.replace([node], [made], {node.outputs[0]: made.outputs[0]})
    rewriter.finish()
    (output,) = rewriter.model.graph.outputs
    assert (output.name, str(output.shape)) == ("y", "[n,4]")
    assert output.producer() is made
    onnx.checker.check_model(ir.to_proto(rewriter.model), full_check=True)


def test_what_a_file_notes_about_a_graph_output_stays():
    # torch's dynamo exporter writes there what kind of output it is.
    model = make(
        '<ir_version: 10, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { a = Exp(x) y = Identity(a) }'
    )
    output = model.graph.output[0]
    output.doc_string = "the answer"
    output.metadata_props.add(key="kind", value="USER_OUTPUT")
    after = optimize(model)

    assert [node.op_type for node in after.graph.node] == ["Exp"]
    assert after.graph.output[0] == output


def test_a_graph_input_cannot_take_the_name_of_a_graph_output():
    rewriter = rewriter_for(
        make("""<ir_version: 8, opset_import: ["": 17]> agraph (float[a] x) => (float[a] y) { y = Exp(x) }""")
    )
    node = named(rewriter, "Exp")
    assert not rewriter.replace([node], [], {node.outputs[0]: rewriter.model.graph.inputs[0]})
    assert rewriter.refusals[0].reason.startswith("its output is a graph output")
    assert rewriter.rewrites == 0


def test_an_identity_keeps_the_name_of_a_graph_output_where_more_than_one_node_goes():
    rewriter = rewriter_for(make(CHAIN, **WEIGHT))
    node = named(rewriter, "Exp")
    assert rewriter.replace([node], [], {node.outputs[0]: rewriter.model.graph.inputs[0]})
    assert [left.op_type for left in rewriter.model.graph] == ["Identity"]
    assert [value.name for value in rewriter.model.graph.outputs] == ["y"]


def test_no_identity_stands_for_several_values_or_beside_new_nodes():
    text = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[2] x) => (float[1] y, float[1] z) { a = Relu(x) y, z = Split<axis = 0>(a) }"""
    for put_in in (1, 0):
        rewriter = rewriter_for(make(text))
        node, outer = named(rewriter, "Split"), rewriter.model.graph.inputs[0]
        made = [rewriter.node("Neg", [outer], like=node.outputs[0])][:put_in]
        values = {node.outputs[0]: outer} if put_in else dict.fromkeys(node.outputs, outer)
        assert not rewriter.replace([node], made, values)
        assert [left.op_type for left in rewriter.model.graph] == ["Relu", "Split"]


def test_no_identity_of_an_outer_value_that_a_branch_alone_reads():
    rewriter = rewriter_for(
        make("""<ir_version: 8, opset_import: ["": 17]> agraph (float[a] x, bool c) => (float[a] y) {
    e = Exp(x)
    y = If(c) <then_branch = t () => (float[a] u) { u = Identity(e) },
               else_branch = f () => (float[a] v) { v = Neg(x) }>
}""")
    )
    node = named(rewriter, "Identity")
    assert not rewriter.replace([node], [], {node.outputs[0]: node.inputs[0]})


def test_what_only_the_replaced_node_read_dies_with_it_and_weights_too():
    rewriter = rewriter_for(make(CHAIN, **WEIGHT))
    node = named(rewriter, "Exp")
    made = rewriter.node("Neg", [rewriter.model.graph.inputs[0]], like=node.outputs[0])
    rewriter.replace([node], [made], {node.outputs[0]: made.outputs[0]})
    assert [left.op_type for left in rewriter.model.graph] == ["Neg"]
    assert not rewriter.model.graph.initializers


def test_the_owners_of_all_replaced_nodes_are_merged_primary_first():
    model = ir.from_proto(
        make("""<ir_version: 8, opset_import: ["": 17]>
agraph (float[a, b, c] x) => (float[c, b, a] y) {
    p = Transpose<perm = [1, 2, 0]>(x)
    y = Transpose<perm = [1, 0, 2]>(p)
}""")
    )
    for node, owner in zip(model.graph, ("encoder.0", "encoder.1"), strict=True):
        node.metadata_props[OWNER_KEY] = owner
    EliminateRedundantTransposes().call(model)
    (left,) = model.graph
    assert contributors(left) == ("encoder.0", "encoder.1")


def test_a_constant_for_a_function_is_a_node_at_its_start_and_otherwise_an_initializer():
    rewriter = rewriter_for(in_function(make(CHAIN, **WEIGHT)))
    (function,) = rewriter.model.functions.values()
    array = np.zeros(2, np.float32)
    inside = rewriter.constant_value(next(iter(function)).graph, array, "made")
    assert next(iter(function)) is inside.producer()
    outside = rewriter.constant_value(rewriter.model.graph, array, "made")
    assert outside.is_initializer()


def test_a_dying_if_frees_what_its_branches_captured():
    rewriter = rewriter_for(in_subgraph(make(CHAIN, **WEIGHT)))
    graph = rewriter.model.graph
    choice = named(rewriter, "If")
    made = rewriter.node("Relu", [graph.inputs[0]], like=choice.outputs[0])
    rewriter.replace([choice], [made], {choice.outputs[0]: made.outputs[0]})
    assert not graph.initializers
    assert [left.op_type for left in rewriter.nodes()] == ["Relu"]


@dataclass(frozen=True)
class NegateTwice(Pass):
    name: ClassVar[str] = "negate_twice"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Identity"):
            made = rewriter.node("Neg", [node.inputs[0]], like=node.outputs[0])
            rewriter.replace([node], [made], {node.outputs[0]: made.outputs[0]})


@pytest.mark.parametrize(("limit", "left"), [(0, 2), (1, 1), (2, 0), (None, 0)])
def test_a_pass_can_be_stopped_after_its_first_rewrites(limit, left):
    model = ir.from_proto(make(CHAIN, **WEIGHT))
    outcome = NegateTwice(max_rewrites=limit).call(model)
    assert sum(node.op_type == "Identity" for node in model.graph) == left
    assert outcome.rewrites == 2 - left
    assert outcome.modified == (left < 2)


def test_one_refusal_at_one_place_is_told_once():
    model = ir.from_proto(make(CHAIN.replace("y = Exp(c)", "y = Identity(x)"), **WEIGHT))
    outcome = EliminateIdentityOps().call(model)
    assert len(outcome.refusals) == len(set(outcome.refusals))


TWO_SCOPES = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[n, 4] x) => (float[n, 4] y) <int64[2] there = {-1, 4}, int64[2] given = {2, 2}> {
    a = Reshape(x, there)
    b = Constant <value = int64[2] {4, -1}> ()
    c = Reshape(a, b)
    y = Reshape(c, there)
}"""


def test_a_small_constant_that_is_there_already_is_used_again():
    rewriter = rewriter_for(make(TWO_SCOPES))
    graph = rewriter.model.graph
    there = rewriter.constant_value(graph, np.array([-1, 4]), "shape")
    assert there is graph.initializers["there"]
    assert rewriter.constant_value(graph, np.array([4, -1]), "shape") is graph[1].outputs[0]
    new = rewriter.constant_value(graph, np.array([7]), "shape")
    assert new.name not in ("there", "given")
    assert rewriter.constant_value(graph, np.array([7]), "other") is new
    assert rewriter.constant_value(graph, np.array([7], np.int32), "other") is not new


def test_a_constant_that_has_died_is_not_used_again():
    rewriter = rewriter_for(make(TWO_SCOPES))
    graph = rewriter.model.graph
    first = rewriter.constant_value(graph, np.array([7]), "shape")
    rewriter.sweep(first)
    assert rewriter.constant_value(graph, np.array([7]), "shape") is not first


def test_a_large_constant_and_a_constant_that_a_caller_may_override_are_not_shared():
    model = make(TWO_SCOPES)
    model.graph.input.append(onnx.helper.make_tensor_value_info("given", onnx.TensorProto.INT64, [2]))
    rewriter = rewriter_for(model)
    graph = rewriter.model.graph
    assert rewriter.constant_value(graph, np.array([2, 2]), "shape") is not graph.initializers["given"]
    large = np.zeros(200, np.int64)
    assert rewriter.constant_value(graph, large, "a") is not rewriter.constant_value(graph, large, "b")


def test_a_subgraph_reads_the_constant_of_the_scope_around_it():
    rewriter = rewriter_for(in_subgraph(make(CHAIN, **WEIGHT)))
    outer, *inner = rewriter.scopes()
    assert inner
    value = rewriter.constant_value(outer, np.array([3]), "axes")
    assert all(rewriter.constant_value(scope, np.array([3]), "axes") is value for scope in inner)


def test_a_function_has_constants_of_its_own():
    rewriter = rewriter_for(in_function(make(CHAIN, **WEIGHT)))
    main, function = rewriter.scopes()
    assert rewriter.constant_value(main, np.array([3]), "axes") is not rewriter.constant_value(
        function, np.array([3]), "axes"
    )


def test_readers_stand_in_graph_order_whatever_edits_led_there():
    text = """<ir_version: 8, opset_import: ["": 17]>
    agraph (float[n] x) => (float[n] y, float[n] z) { a = Exp(x) y = Neg(a) z = Abs(a) }"""
    rewriter = rewriter_for(onnx.parser.parse_model(text))
    exp, neg, _ = rewriter.model.graph
    neg.replace_input_with(0, None)
    neg.replace_input_with(0, exp.outputs[0])
    assert [use.node.op_type for use in exp.outputs[0].uses()] == ["Abs", "Neg"]
    rewriter.order_uses()
    assert [use.node.op_type for use in exp.outputs[0].uses()] == ["Neg", "Abs"]


def test_a_rewrite_is_counted_for_the_rule_that_was_begun_last():
    rewriter = rewriter_for(make(CHAIN, **WEIGHT), rules=("first", "second"))
    for rule in ("second", "a rule of another pass"):
        rewriter.begin_rule(rule)
        node = named(rewriter, "Identity")
        rewriter.replace([node], [], {node.outputs[0]: node.inputs[0]})
    rewriter.begin_rule("first")
    rewriter.edited()
    assert rewriter.fired == ["second", "second", "first"]


def test_the_one_rule_of_a_pass_is_called_like_the_pass():
    rewriter = rewriter_for(make(CHAIN, **WEIGHT))
    rewriter.edited()
    assert (rewriter.fired, rewriter.rewrites) == (["test"], 1)
