"""Who reads a value: counted, and asked without a copy of all readers."""

import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.readers import is_needed, read_outside, reads

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x, bool c) => (float[2] y) {
    a = Mul(x, x)
    unread = Neg(a)
    y = If (c) <
        then_branch = t () => (float[2] p) { p = Relu(a) },
        else_branch = e () => (float[2] q) { q = Neg(a) }
    >
}"""


@pytest.fixture
def model():
    return ir.from_onnx_text(TEXT)


def test_every_read_counts_also_inside_a_subgraph(model):
    multiply, negated, branch = model.graph
    assert [reads(value) for value in (*model.graph.inputs, *multiply.outputs)] == [2, 1, 3]
    assert (reads(negated.outputs[0]), reads(branch.outputs[0])) == (0, 0)


def test_a_graph_output_is_needed_without_a_reader(model):
    assert [is_needed(node.outputs[0]) for node in model.graph] == [True, False, True]


def test_readers_outside_some_nodes(model):
    multiply, negated, branch = model.graph
    inner = [node for graph in branch.attributes.values() for node in graph.as_graph()]
    assert not read_outside(multiply.outputs[0], [negated, *inner])
    assert read_outside(multiply.outputs[0], [negated])
    assert not read_outside(negated.outputs[0], [])


def test_nothing_copies_the_readers(model, monkeypatch):
    monkeypatch.setattr(ir.Value, "uses", None)
    value = model.graph[0].outputs[0]
    assert (reads(value), is_needed(value), read_outside(value, [])) == (3, True, True)
