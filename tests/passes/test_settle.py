"""One run reaches the fixed point: what a pass makes possible for one before it is done by `settle`."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.attribution import attribute
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes import PASSES, Pass
from pytest_modelcheck.passes.fold_constants import FoldConstants
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.passes.simplify_shape_chains import SimplifyShapeChains
from pytest_modelcheck.pipeline import optimize, run_pass
from pytest_modelcheck.rewriting.rewriter import Rewriter
from tests.passes.fusing_checks import make, worst_difference
from tests.passes.rule_cases import RuleCase

BRANCHES = """{ y = If (c) <
    then_branch = then () => (float[2,N] t) { t = Relu (x) },
    else_branch = other () => (float[2,N] e) { a = Neg (x) b = Neg (a) e = Neg (b) }
> }"""
BY_SHAPE = make(
    '<ir_version: 10, opset_import: ["" : 17]> g (float[2,N] x) => (float[2,N] y) '
    + BRANCHES.replace("{ y", "{ s = Shape (x) d = Gather (s, zero) c = Equal (d, two) y", 1),
    zero=np.array(0),
    two=np.array(2),
)


def test_an_if_that_a_declared_size_decides_goes_in_one_run() -> None:
    after = optimize(BY_SHAPE)

    assert op_counts(ir.from_proto(after)) == {"Relu": 1}
    assert worst_difference(BY_SHAPE, after) == 0.0


@pytest.mark.parametrize(
    "condition",
    ["o = Constant <value_float = 1.0> () c = Greater (o, z)", "r = ReduceSum <keepdims = 0> (k) c = Greater (r, z)"],
)
def test_an_if_whose_condition_folds_goes_in_one_run_of_fold_constants(condition: str) -> None:
    text = '<ir_version: 10, opset_import: ["" : 17]> g (float[2,N] x) => (float[2,N] y) '
    constants = {"z": np.float32(0), "k": np.ones(3, np.float32)}
    used = {name: array for name, array in constants.items() if name == "z" or "(k)" in condition}
    model = make(text + BRANCHES.replace("{ y", f"{{ {condition} y", 1), **used)
    after, _ = run_pass(ir.from_proto(model), FoldConstants())

    assert op_counts(after) == {"Relu": 1}


def test_it_does_what_a_second_run_would_have_done_and_no_more() -> None:
    rows = {row.name: row for row in attribute(BY_SHAPE).passes}

    assert rows["settle"].in_order == rows["settle"].isolated == -2  # the If and what is left of its other branch
    assert [row.in_order for row in attribute(optimize(BY_SHAPE)).passes] == [0] * len(PASSES)


def test_a_pass_that_is_left_out_is_left_out_of_it_too() -> None:
    model = make(
        '<ir_version: 10, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) { a = Add (x, z) y = Relu (a) }',
        z=np.zeros(3, np.float32),
    )
    rows = {row.name: row for row in attribute(model).passes}

    assert rows["eliminate_identity_ops"].leave_one_out == -1


def test_it_stops_after_so_many_rewrites() -> None:
    stopped = Settle(passes=(SimplifyShapeChains(), FoldConstants()), max_rewrites=1)
    _, record = run_pass(ir.from_proto(BY_SHAPE), stopped)

    assert record.changed
    assert record.error is None


@dataclass(frozen=True)
class AddAnIdentity(Pass):
    name: ClassVar[str] = "add_an_identity"

    def rewrite(self, rewriter: Rewriter) -> None:
        last = rewriter.model.graph.outputs[0].producer()
        assert last is not None
        rewriter.insert_behind(last.outputs[0], rewriter.node("Identity", [last.outputs[0]], like=last.outputs[0]))
        rewriter.edited()


def test_passes_that_never_find_an_end_are_stopped_and_named() -> None:
    after, record = run_pass(ir.from_proto(BY_SHAPE), Settle(passes=(AddAnIdentity(),)))

    assert op_counts(after)["Identity"] == 6
    assert [refused.reason for refused in record.refusals] == ["there is still something to do after 6 rounds"]


CASES = (
    RuleCase(
        rule="settle",
        pass_=Settle(passes=(SimplifyShapeChains(), FoldConstants())),
        fires=BY_SHAPE,
        refused=None,
        reason="",
        counts={"Relu": 1},
    ),
)
