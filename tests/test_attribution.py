"""Alone, in place, and missed: the three figures on models where they differ, and what failing passes leave of them."""

import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from pytest_modelcheck.attribution import attribute
from pytest_modelcheck.errors import InvalidModelError, OptionError
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import PassStatus, resolve_passes, run_pipeline

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) {
    a = Relu(x)
    c = Constant <value = float {1.0}> ()
    y = Add(a, c)
}"""


def copy_of(model):
    return onnx.ModelProto.FromString(model.SerializeToString())


def drop_relu(model):
    """Takes the Relu out, and with it what `drop_unused` and `drop_twin` could find."""
    copy = copy_of(model)
    for node in list(copy.graph.node):
        if node.op_type == "Relu":
            copy.graph.node.remove(node)
            for other in copy.graph.node:
                other.input[:] = [node.input[0] if name == node.output[0] else name for name in other.input]
    return copy


def split_relu(model):
    """Writes the Relu as Max(x, 0) and an unused Neg: one node more, and work for `drop_unused`."""
    copy = copy_of(model)
    for index, node in enumerate(copy.graph.node):
        if node.op_type == "Relu":
            copy.graph.node.insert(index, helper.make_node("Neg", [node.input[0]], ["left_over"]))
            break
    return copy


def drop_unused(model):
    copy = copy_of(model)
    for node in list(copy.graph.node):
        if node.output[0] == "left_over":
            copy.graph.node.remove(node)
    return copy


def broken(model):
    raise ValueError("mine")


def breaks_without_left_over(model):
    if not any(node.output[0] == "left_over" for node in model.graph.node):
        raise ValueError("nothing left over")
    return model


def figures(attribution):
    return [(row.name, row.isolated, row.in_order, row.leave_one_out) for row in attribution.passes]


@pytest.fixture
def model():
    return ir.from_onnx_text(TEXT)


def test_a_pass_that_enables_another_is_worth_more_than_it_does(model):
    attribution = attribute(model, passes=[split_relu, drop_unused])
    # drop_unused alone finds nothing; without it the one node that split_relu added stays
    assert figures(attribution) == [("split_relu", 1, 1, 0), ("drop_unused", 0, -1, -1)]


def test_two_passes_that_do_the_same_are_each_not_missed(model):
    attribution = attribute(model, passes=[drop_relu, drop_relu])
    assert figures(attribution) == [("drop_relu", -1, -1, 0), ("drop_relu#2", -1, 0, 0)]


def test_a_pass_that_takes_the_work_of_another_away(model):
    attribution = attribute(model, passes=[drop_relu, split_relu])
    assert figures(attribution) == [("drop_relu", -1, -1, -2), ("split_relu", 1, 0, 0)]


def test_totals_and_constants_beside_them(model):
    attribution = attribute(model, passes=[drop_relu])
    assert (attribution.nodes_before, attribution.nodes_after) == (2, 1)
    assert (attribution.constants_before, attribution.constants_after) == (1, 1)
    assert attribution.reduction == 0.5
    assert attribution.target == "portable"
    assert [node.op_type for node in attribution.optimized.graph] == ["Constant", "Add"]


def test_in_order_figures_add_up_to_the_difference(model):
    attribution = attribute(model, passes=[split_relu, drop_relu, drop_unused, *PASSES])
    assert sum(row.in_order for row in attribution.passes) == attribution.nodes_after - attribution.nodes_before


def test_a_pass_that_fails_has_no_figure_and_says_why(model):
    attribution = attribute(model, passes=[drop_relu, broken])
    good, bad = attribution.passes
    assert (bad.isolated, bad.in_order, bad.leave_one_out) == (None, None, None)
    assert (bad.status, bad.isolated_status, bad.error) == (PassStatus.ERROR, PassStatus.ERROR, "ValueError: mine")
    assert attribution.errors == (bad,)
    assert (good.isolated, good.in_order) == (-1, -1)
    # there is no whole pipeline to compare with
    assert good.leave_one_out is None


def test_a_pass_that_fails_only_alone_is_an_error_with_its_figure_in_order(model):
    row = attribute(model, passes=[split_relu, breaks_without_left_over]).passes[1]
    assert (row.isolated, row.in_order) == (None, 0)
    assert (row.status, row.isolated_status) == (PassStatus.ERROR, PassStatus.ERROR)
    assert row.error == "ValueError: nothing left over"


def test_a_pass_that_fails_only_where_another_is_left_out_makes_that_figure_unknown(model):
    first = attribute(model, passes=[split_relu, breaks_without_left_over]).passes[0]
    assert (first.in_order, first.leave_one_out) == (1, None)


def test_leave_one_out_is_not_there_where_it_was_not_asked_for(model):
    assert figures(attribute(model, passes=[drop_relu], leave_one_out=False)) == [("drop_relu", -1, -1, None)]


def test_the_figures_are_those_of_pipelines_that_are_really_run(model):
    passes = [split_relu, drop_unused, drop_relu]
    attribution = attribute(model, passes=passes)
    full = len(run_pipeline(model, passes)[0].graph)
    for index, row in enumerate(attribution.passes):
        without, _ = run_pipeline(model, passes[:index] + passes[index + 1 :])
        assert row.leave_one_out == full - len(without.graph)


def test_refusal_reasons_are_counted_most_frequent_first():
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] z, float[1,2,4,4] u)
    <float[2,2,1,1] w = {1, 2, 3, 4}, float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0, 1},
     float[2] v = {1, 2}> {
        z = Conv(x, w)
        u = Conv(x, w)
        p = BatchNormalization(z, s, b, m, v)
        q = BatchNormalization(u, s, b, m, v)
        y = Add(p, q)
    }"""
    (row,) = attribute(ir.from_onnx_text(text), passes=resolve_passes(["fuse_conv_batchnorm"])).passes
    assert row.status is PassStatus.REFUSED
    assert sum(count for _, count in row.reasons) == 2
    assert [count for _, count in row.reasons] == sorted((count for _, count in row.reasons), reverse=True)


def test_the_model_is_not_touched_and_no_weight_is_copied():
    text = TEXT.replace("c = Constant <value = float {1.0}> ()", "").replace("{\n    a", "<float c = {1}> {\n    a", 1)
    model = ir.from_onnx_text(text)
    before = ir.to_proto(model).SerializeToString()
    attribution = attribute(model)
    assert ir.to_proto(model).SerializeToString() == before
    assert attribution.optimized.graph.initializers["c"].const_value is model.graph.initializers["c"].const_value


def test_an_invalid_model_or_target_is_refused(model):
    with pytest.raises(OptionError, match="target 'x' is unknown"):
        attribute(model, target="x")
    model.graph[0].op_type = "Rel"
    with pytest.raises(InvalidModelError):
        attribute(model)
