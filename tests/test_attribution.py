"""Alone, in place, and missed: the three figures on models where they differ, and what failing passes leave of them."""

import gc
import tracemalloc

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from pytest_modelcheck.attribution import attribute, initializer_bytes
from pytest_modelcheck.errors import InvalidModelError, OptionError
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import (
    PassStatus,
    as_passes,
    prepare,
    resolve_passes,
    run_pipeline,
    run_prepared,
)

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


def test_operators_constants_and_bytes_that_each_pass_changed():
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}, float[4] unused = {0, 0, 0, 0}> {
        c = Constant <value = float[4] {1.0, 1.0, 1.0, 2.0}> ()
        v = Neg(c)
        a = Add(x, v)
        b = Identity(a)
        y = Mul(b, w)
    }"""
    passes = ["eliminate_unused_initializers", "eliminate_identity_ops", "fold_constants"]
    attribution = attribute(ir.from_onnx_text(text), passes=passes)
    assert [(row.ops, row.constants, row.bytes_before, row.bytes_after) for row in attribution.passes] == [
        ({}, 0, 32, 16),
        ({"Identity": -1}, 0, 16, 16),
        ({"Neg": -1}, -1, 16, 32),  # -c is an initializer now
    ]
    assert attribution.ops_before == {"Add": 1, "Identity": 1, "Mul": 1, "Neg": 1}
    assert attribution.ops_after == {"Add": 1, "Mul": 1}
    assert (attribution.bytes_before, attribution.bytes_after) == (32, 32)


def test_initializers_of_subgraphs_count_too():
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (bool c, float[2] x) => (float[2] y) {
        y = If (c) <then_branch = t () => (float[2] u) <float[2] w = {1, 2}> { u = Add(x, w) },
                    else_branch = e () => (float[2] v) { v = Neg(x) }>
    }"""
    assert initializer_bytes(ir.from_onnx_text(text)) == 8


def test_passes_may_be_named_and_the_model_may_be_a_proto_or_a_file(model, tmp_path):
    onnx.save(ir.to_proto(model), tmp_path / "net.onnx")
    for given in (model, ir.to_proto(model), tmp_path / "net.onnx", str(tmp_path / "net.onnx")):
        attribution = attribute(given, passes=[drop_relu, "eliminate_dead_nodes"])
        assert figures(attribution) == [("drop_relu", -1, -1, -1), ("eliminate_dead_nodes", 0, 0, 0)]
    with pytest.raises(OptionError, match="pass 'fuse_gelo' is unknown"):
        attribute(model, passes=["fuse_gelo"])


def test_what_a_pass_notes_stands_in_its_row():
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float["batch", 2] x) => (float["batch", 2] y) { y = Relu(x) }"""
    (row,) = attribute(ir.from_onnx_text(text), passes=["freeze_dynamic_shapes"]).passes
    assert row.notes
    assert "batch" in row.notes[0]


def test_who_watches_sees_the_model_before_and_after_each_pass_in_order(model):
    seen = []
    attribution = attribute(
        model,
        passes=[drop_relu, broken, "eliminate_dead_nodes"],
        watch=lambda index, stage: seen.append((index, stage)),
    )
    assert [index for index, _ in seen] == [0, 1, 2, 3]
    assert [len(stage.graph) for _, stage in seen] == [3, 2, 2, 2]
    # what changed nothing, and what failed, hands on the same object
    assert seen[1][1] is seen[2][1] is seen[3][1] is attribution.optimized


def large(weights=4, side=1024):
    """A chain of MatMuls with 4 MB of weights each, as an ir.Model whose tensors are numpy arrays."""
    body = "\n".join(f"    a{i + 1} = MatMul(a{i}, w{i})" for i in range(weights))
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    g (float[2,{side}] a0) => (float[2,{side}] y) {{
    {body}
        z = Identity(a{weights})
        y = Relu(z)
    }}"""
    proto = onnx.parser.parse_model(text)
    draw = np.random.default_rng(0)
    for index in range(weights):
        array = draw.normal(size=(side, side)).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, f"w{index}"))
    made = ir.from_proto(proto)
    for value in made.graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
    return made


@pytest.mark.parametrize("pass_", [*PASSES, "onnxoptimizer", "onnxruntime_basic"], ids=lambda p: getattr(p, "name", p))
def test_an_isolated_run_shares_every_tensor_that_it_keeps(pass_):
    model = large(weights=2, side=64)
    after, record = run_prepared(prepare(model), *as_passes([pass_]), goes_on=False)
    assert record.status is not PassStatus.ERROR
    weights = [value.const_value for value in model.graph.initializers.values()]
    assert [value.const_value for value in after.graph.initializers.values()] == weights
    assert all(value.const_value is weights[i] for i, value in enumerate(after.graph.initializers.values()))


def test_no_run_of_the_whole_attribution_holds_a_copy_of_the_weights():
    model = large()
    weights = initializer_bytes(model)
    attribute(model)  # what is imported and cached the first time is no copy
    gc.collect()
    tracemalloc.start()
    try:
        attribution = attribute(model)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (weights, attribution.bytes_after) == (16 * 2**20, 16 * 2**20)
    assert peak < weights / 4
