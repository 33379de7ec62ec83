"""Attribution shares runs that cannot differ: its figures are those of runs that share nothing."""

import onnx_ir as ir
from hypothesis import given, settings

from pytest_modelcheck.attribution import attribute
from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline import PassStatus, prepare, run_prepared
from tests.passes.random_graphs import models


def figures_one_by_one(model, passes):
    """(name, alone, in order, leave-one-out, status, alone) of each pass, every run of it from the beginning."""

    def chain(chosen):
        stage, records = prepare(model), []
        for pass_ in chosen:
            stage, record = run_prepared(stage, pass_)
            records.append(record)
        return count_nodes(stage), records

    full, in_order = chain(passes)
    rows = []
    for index, (pass_, record) in enumerate(zip(passes, in_order, strict=True)):
        settles = isinstance(pass_, Settle)
        alone = record if settles else run_prepared(prepare(model), pass_, goes_on=False)[1]
        rest = passes[:index] + passes[index + 1 :]
        without, others = chain([p.without(pass_.name) if isinstance(p, Settle) else p for p in rest])
        assert PassStatus.ERROR not in {other.status for other in others}
        rows.append((pass_.name, alone.delta, record.delta, full - without, record.status, alone.status))
    return rows


@settings(deadline=None, max_examples=15)
@given(models())
def test_the_figures_are_those_of_runs_that_share_nothing(proto):
    found = [
        (row.name, row.isolated, row.in_order, row.leave_one_out, row.status, row.isolated_status)
        for row in attribute(proto).passes
    ]
    assert found == figures_one_by_one(ir.from_proto(proto), PASSES)


IDENTITY = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) {
    a = Identity(x)
    y = Relu(a)
}"""


def sizes_seen(*passes, leave_one_out=True):
    """The number of nodes that a pass, which changes nothing, gets in each of its runs; it stands where None is."""
    seen = []

    def watch(model):
        seen.append(len(model.graph.node))
        return model

    chosen = [watch if pass_ is None else pass_ for pass_ in passes]
    attribute(ir.from_onnx_text(IDENTITY), passes=chosen, leave_one_out=leave_one_out)
    return seen


def test_before_the_first_change_a_pass_is_run_once_and_without_one_that_changed_nothing_no_other_is_run():
    assert sizes_seen(None, "fuse_gelu", "eliminate_identity_ops") == [2]
    assert sizes_seen("fuse_gelu", None, "eliminate_identity_ops") == [2]


def test_behind_the_first_change_it_is_run_in_order_alone_and_without_what_changed_something():
    assert sizes_seen("eliminate_identity_ops", None, leave_one_out=False) == [1, 2]
    assert sizes_seen("eliminate_identity_ops", None) == [1, 2, 2]
