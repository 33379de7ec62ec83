"""What the passes do grows with the number of nodes, counted and not timed."""

import onnx_ir as ir

from benchmarks.peers.growing import chain
from pytest_modelcheck.graph.scopes import is_sorted
from pytest_modelcheck.pipeline import run_pipeline
from pytest_modelcheck.rewriting.rewriter import Rewriter


def copied_readers(nodes, monkeypatch):
    """How many readers all calls of ``Value.uses`` have listed while the pipeline ran over so many nodes."""
    listed = 0
    uses = ir.Value.uses

    def counted(value):
        nonlocal listed
        found = uses(value)
        listed += len(found)
        return found

    model = ir.from_proto(chain(nodes))
    with monkeypatch.context() as patched:
        patched.setattr(ir.Value, "uses", counted)
        run_pipeline(model)
    return listed


def test_the_readers_of_a_constant_that_all_layers_share_are_not_listed_at_each_of_them(monkeypatch):
    few, many = copied_readers(1_300, monkeypatch), copied_readers(2_600, monkeypatch)
    assert 0 < many <= 2.1 * few


def wide(readers):
    """One value that so many different nodes read, and one Concat that reads all of theirs."""
    numbers = range(2, readers + 2)
    constants = ", ".join(f"float[1] c{i} = {{{i}.0}}" for i in numbers)
    nodes = " ".join(f"v{i} = Add(x, c{i})" for i in numbers)
    return ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["": 18]> g (float[1] x) => (float[n] y) <{constants}>
        {{ {nodes} y = Concat <axis = 0> ({", ".join(f"v{i}" for i in numbers)}) }}"""
    )


def copied_inputs(readers, monkeypatch, work):
    """How many inputs ``replace_input_with``, which copies all of a node's, has copied during `work`."""
    copied = 0
    replace = ir.Node.replace_input_with

    def counted(node, index, value):
        nonlocal copied
        copied += len(node.inputs)
        replace(node, index, value)

    model = wide(readers)
    with monkeypatch.context() as patched:
        patched.setattr(ir.Node, "replace_input_with", counted)
        work(model)
    return copied


def test_the_order_of_uses_does_not_copy_the_inputs_of_a_node_for_each_of_them(monkeypatch):
    assert copied_inputs(500, monkeypatch, lambda model: rewriter(model).order_uses()) == 0


def test_a_pipeline_that_finds_nothing_copies_no_inputs_of_a_wide_node(monkeypatch):
    assert copied_inputs(300, monkeypatch, run_pipeline) == 0


SORTED = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) {
    a = Neg(x)
    b = Relu(a)
    y = Add(a, b)
}"""

BRANCHING = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x, bool c) => (float[2] y) {
    y = If (c) <
        then_branch = t () => (float[2] p) { p = Relu(x) },
        else_branch = e () => (float[2] q) { q = Neg(x) }
    >
}"""


def rewriter(model):
    return Rewriter(model, pass_name="mine", target="portable")


def test_a_graph_in_order_is_not_sorted_again(monkeypatch):
    model = ir.from_onnx_text(SORTED)
    assert is_sorted(model.graph)
    monkeypatch.setattr(ir.Graph, "sort", None)
    rewriter(model).sort()


def test_a_graph_out_of_order_is_sorted():
    model = ir.from_onnx_text(SORTED)
    last = model.graph[-1]
    model.graph.insert_before(model.graph[0], last)
    assert not is_sorted(model.graph)
    rewriter(model).sort()
    assert [node.op_type for node in model.graph] == ["Neg", "Relu", "Add"]
    assert is_sorted(model.graph)


def test_with_a_subgraph_it_is_left_to_the_sort_which_looks_into_it():
    assert not is_sorted(ir.from_onnx_text(BRANCHING).graph)
