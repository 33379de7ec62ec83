"""A branch that no input took is said: it was compared with nothing."""

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck import ModelCase
from pytest_modelcheck.accuracy.branches import branches_without_a_run
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates.accuracy import measure_accuracy
from pytest_modelcheck.runtimes import AS_WRITTEN

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n] x, float[m] unused) => (float[n] y) <float limit = {LIMIT}> {
    sum = ReduceSum <keepdims = 0> (x)
    large = Greater (sum, limit)
    y = If (large) <
        then_branch = t () => (float[n] p) { p = Neg (x) },
        else_branch = f () => (float[n] q) { q = Relu (x) }
    >
}
"""


def inputs(seed):
    return {"x": np.full(3, seed, np.float32), "unused": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    ("limit", "seeds", "lines"),
    [
        (-1, 4, ("the else branch of If 'y' never ran: its condition is true for all 4 inputs",)),
        (-1, 1, ("the else branch of If 'y' never ran: its condition is true for the one input",)),
        (9, 4, ("the then branch of If 'y' never ran: its condition is false for all 4 inputs",)),
        (8, 4, ()),  # seed 3 takes it: 9 > 8
    ],
)
def test_the_branch_that_never_ran_is_named_with_the_condition(limit, seeds, lines):
    graph = ir.from_onnx_text(TEXT.replace("LIMIT", str(limit)))
    assert branches_without_a_run(graph, map(inputs, range(seeds)), AS_WRITTEN) == lines
    assert [node.op_type for node in graph.graph] == ["ReduceSum", "Greater", "If"]


def test_a_graph_without_an_if_runs_nothing():
    graph = ir.from_onnx_text('<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Neg (x) }')
    assert branches_without_a_run(graph, map(pytest.fail, range(3)), AS_WRITTEN) == ()


def test_the_gate_notes_it(tmp_path):
    ir.save(ir.from_onnx_text(TEXT.replace("LIMIT", "-1")), tmp_path / "m.onnx")
    case = ModelCase.from_onnx(tmp_path / "m.onnx", inputs)
    report = measure_accuracy(ModelCheck(case), seeds=2, varied=False)
    assert "the else branch of If 'y' never ran: its condition is true for all 2 inputs" in report.notes
