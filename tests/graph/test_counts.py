"""The one counting rule: graph, subgraphs and functions; Constants beside."""

import onnx_ir as ir

from pytest_modelcheck.graph.counts import all_nodes, count_nodes, op_counts

TEXT = """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
g (float[2] x, bool c) => (float[2] y) {
    k = Constant <value = float {3}> ()
    a = mine.Twice(x)
    o = mine.Constant(a)
    y = If (c) <
        then_branch = yes () => (float[2] p) { i = Constant <value = float {1}> () p = Mul(o, i) },
        else_branch = no () => (float[2] q) {
            q = If (c) <
                then_branch = deep () => (float[2] r) { r = Neg(a) },
                else_branch = deeper () => (float[2] s) { s = Add(a, k) }
            >
        }
    >
}
<domain: "mine", opset_import: ["" : 18]>
Twice (v) => (t) { two = Constant <value = float {2}> () t = Mul(v, two) }
"""


def test_nodes_of_subgraphs_and_functions_count_and_constants_do_not():
    model = ir.from_onnx_text(TEXT)
    assert op_counts(model) == {
        "Add": 1,
        "If": 2,
        "Mul": 2,
        "Neg": 1,
        "mine:Constant": 1,
        "mine:Twice": 1,
    }
    assert count_nodes(model) == 8
    assert count_nodes(model, constants=True) == 11
    assert len(list(all_nodes(model))) == 11


def test_a_function_counts_once_however_often_it_is_called():
    text = TEXT.replace("a = mine.Twice(x)", "b = mine.Twice(x) a = mine.Twice(b)")
    assert count_nodes(ir.from_onnx_text(text)) == 9


def test_an_empty_graph_counts_nothing():
    text = '<ir_version: 10, opset_import: ["" : 18]> g (float[2] x) => (float[2] x) {}'
    assert (count_nodes(ir.from_onnx_text(text)), op_counts(ir.from_onnx_text(text))) == (0, {})
