"""An If goes where one of its branches leads to an operator that refuses its input, and nowhere else."""

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.fold_constants import FoldConstants
from pytest_modelcheck.pipeline import run_pass
from tests.passes.fusing_checks import in_subgraph, make, outputs

SQUEEZE = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[b, 8, n] x) => (float[m, 4] y) {
    s = Shape<start = 2, end = 3>(x)
    last = Squeeze(s)
    isone = Equal(last, one)
    z = If(isone) <
        then_branch = t () => (float[tb, 8] q) { q = Squeeze(x, two) },
        else_branch = e () => (float[eb, 8, en] r) { r = Identity(x) }
    >
    ends
}"""
CONSTANTS = {
    "one": np.array(1),
    "two": np.array([2]),
    "rows": np.array(2),
    "zero": np.array([0]),
    "w": np.arange(32, dtype=np.float32).reshape(8, 4),
}
RANK_ASKED = """dims = Shape(z) rank = Size(dims) ismatrix = Equal(rank, rows)
    u = If(ismatrix) <
        then_branch = tt () => (float[ub, uc] v) { v = Identity(z) },
        else_branch = ee () => (float[ud, ue, uf, ug] vv) { vv = Unsqueeze(z, zero) }
    >
    y = Gemm(u, w)"""


def squeezed(ends):
    used = {name: array for name, array in {**CONSTANTS}.items() if name in SQUEEZE or name in ends}
    return make(SQUEEZE.replace("ends", ends), **used)


def left(model):
    after, record = run_pass(ir.from_proto(model), FoldConstants())
    return sorted(node.op_type for node in after.graph), record, ir.to_proto(after)


def test_the_branch_that_a_gemm_refuses_is_dropped_and_said():
    model = squeezed("y = Gemm(z, w)")
    nodes, record, after = left(model)
    assert nodes == ["Gemm", "Squeeze"]
    reason = "Gemm breaks a rule: Input 0 expected to have rank 2 but has rank 3 in node Gemm."
    assert record.notes == (f"else_branch of If 'z' is dropped: with it, {reason}",)
    x = np.arange(16, dtype=np.float32).reshape(2, 8, 1)
    np.testing.assert_array_equal(outputs(after, {"x": x})["y"], outputs(model, {"x": x})["y"])


def test_in_a_subgraph_too():
    nodes, _, after = left(in_subgraph(squeezed("y = Gemm(z, w)")))
    assert nodes == ["If"]
    inner = [node.op_type for attribute in after.graph.node[0].attribute for node in attribute.g.node]
    assert sorted(inner) == ["Gemm", "Gemm", "Squeeze", "Squeeze"]


def test_what_follows_from_a_branch_is_folded_before_it_is_judged():
    nodes, _, _ = left(squeezed(RANK_ASKED))
    assert nodes == ["Gemm", "Identity", "Squeeze"]


@pytest.mark.parametrize(
    "ends",
    [
        "p = MatMul(z, w) y = Identity(p)",  # takes both, though y is declared a matrix
        "d = DepthToSpace<blocksize = 2>(z) y = Flatten(d)",  # takes neither
    ],
)
def test_where_both_branches_or_none_may_run_the_if_stays(ends):
    nodes, record, _ = left(squeezed(ends))
    assert "If" in nodes
    assert record.notes == ()
