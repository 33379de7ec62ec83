"""Other people's optimizers in a pipeline: the real packages, what comes back from them, and what is wrong with it."""

import importlib.util

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from pytest_modelcheck.attribution import attribute
from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.foreign import FOREIGN_PASSES, ForeignPass, rewrites_that_fired, through_proto
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.passes import PASSES, Pass
from pytest_modelcheck.pipeline import PassStatus, optimize, resolve_passes, run_pass, run_pipeline

NAMES = [pass_.name for pass_ in FOREIGN_PASSES]
TEXT = """<ir_version: 8, opset_import: ["" : 14]>
g (float["batch", 3] x) => (float["batch", 400] y) {
    a = Identity(x)
    b = MatMul(a, w)
    dead = Neg(b)
    y = Relu(b)
}"""


def proto(text=TEXT, seed=0):
    model = onnx.parser.parse_model(text)
    weight = np.random.default_rng(seed).normal(size=(3, 400)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return model


@pytest.fixture
def external(tmp_path):
    """The model with its weight in a file beside it."""
    path = tmp_path / "net.onnx"
    onnx.save(proto(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return load_model(path)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_column_by_its_name_and_keeps_the_weights_that_it_keeps(external, name):
    after, record = run_pass(external, *resolve_passes([name]))
    assert (record.name, record.status, record.error) == (name, PassStatus.FIRED, None)
    # onnxruntime leaves a dead node where it is
    left = {"MatMul": 1, "Relu": 1} | ({"Neg": 1} if name.startswith("onnxruntime") else {})
    assert record.ops_after == dict(sorted(left.items()))
    (weight,) = after.graph.initializers.values()
    assert weight.const_value is external.graph.initializers["w"].const_value


@pytest.mark.parametrize("name", NAMES)
def test_the_result_computes_the_same(name):
    from onnx.reference import ReferenceEvaluator

    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    (before,), (after,) = (
        ReferenceEvaluator(model).run(None, {"x": x}) for model in (proto(), optimize(proto(), passes=[name]))
    )
    assert np.abs(before).max() > 0
    np.testing.assert_allclose(before, after, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_dynamic_dimensions_of_the_interface_keep_their_names(name):
    after, record = run_pass(ir.from_proto(proto()), *resolve_passes([name]))
    assert record.error is None
    assert [str(value.shape) for value in (*after.graph.inputs, *after.graph.outputs)] == ["[batch,3]", "[batch,400]"]


def test_they_stand_beside_ours_in_the_matrix_and_in_a_pipeline():
    passes = ["onnxslim", "eliminate_dead_nodes", "onnxruntime_basic"]
    attribution = attribute(proto(), passes=passes)
    rows = [(row.name, row.isolated, row.in_order, row.leave_one_out) for row in attribution.passes]
    assert rows == [("onnxslim", -2, -2, 0), ("eliminate_dead_nodes", -1, 0, 0), ("onnxruntime_basic", -1, 0, 0)]
    _, records = run_pipeline(ir.from_proto(proto()), passes)
    assert [record.delta for record in records] == [-2, 0, 0]


def test_no_foreign_pass_is_in_the_default_pipeline():
    assert not {pass_.name for pass_ in PASSES} & set(NAMES)


def test_a_package_that_is_not_installed_is_named_with_the_way_out(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxslim" else found(name))
    message = "pass 'onnxslim' needs the package onnxslim, which is not installed; pip install onnxslim, or "
    with pytest.raises(OptionError, match=message):
        resolve_passes(["onnxslim"])
    with pytest.raises(OptionError, match=message):
        attribute(proto(), passes=["onnxslim"])
    _, record = run_pass(ir.from_proto(proto()), FOREIGN_PASSES[0])
    assert record.status is PassStatus.ERROR
    assert message in record.error


def test_a_name_that_is_nearly_one_of_theirs_is_told():
    with pytest.raises(OptionError, match="did you mean 'onnxruntime_all'"):
        resolve_passes(["onnxruntime_al"])


def test_onnxruntime_says_which_of_its_rewrites_fired():
    _, record = run_pass(ir.from_proto(proto()), *resolve_passes(["onnxruntime_basic"]))
    (note,) = record.notes
    assert note.startswith("onnxruntime's graph transformers that fired: ")
    assert "EliminateIdentity" in note or "Level1_RuleBasedTransformer" in note


def test_the_rewrites_of_onnxruntime_are_counted():
    ran = [("ConstantFolding", True), ("GeluFusion", False), ("ConstantFolding", True), ("BiasGelu", True)]
    fired = "onnxruntime's graph transformers that fired: "
    assert rewrites_that_fired(ran) == f"{fired}BiasGelu, ConstantFolding x2"
    assert rewrites_that_fired([("GeluFusion", False)]) == f"{fired}none"
    assert rewrites_that_fired(()) == "onnxruntime's log names no graph transformer"


def test_nothing_of_onnxruntimes_log_reaches_the_terminal(capfd):
    run_pass(ir.from_proto(proto()), *resolve_passes(["onnxruntime_all"]))
    assert capfd.readouterr().err == ""


NORMALIZED = """<ir_version: 8, opset_import: ["" : 14]>
g (float["batch", 400] x) => (float["batch", 400] y) <float two = {2}, float eps = {0.00001}> {
    mean = ReduceMean <axes = [-1]> (x)
    centred = Sub(x, mean)
    squared = Pow(centred, two)
    variance = ReduceMean <axes = [-1]> (squared)
    shifted = Add(variance, eps)
    deviation = Sqrt(shifted)
    normalized = Div(centred, deviation)
    scaled = Mul(normalized, s)
    y = Add(scaled, b)
}"""


def test_onnxruntime_may_write_what_only_it_can_read_and_says_so():
    model = onnx.parser.parse_model(NORMALIZED)
    for name in "sb":
        weight = np.random.default_rng(ord(name)).normal(size=400).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    after, record = run_pass(ir.from_proto(model), *resolve_passes(["onnxruntime_extended"]))
    assert (record.status, record.error) == (PassStatus.FIRED, None)
    assert [node.op_type for node in after.graph] == ["LayerNormalization"]
    assert record.notes[1] == "no standard ONNX: LayerNormalization at opset 14; only onnxruntime runs the result"


def test_the_function_sees_the_weights_that_lie_in_a_file_and_a_changed_one_is_not_shared(external):
    def double(model):
        (weight,) = model.graph.initializer
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 2, "w"))
        return model

    before = external.graph.initializers["w"].const_value
    after = through_proto(external, double, name="double")
    assert isinstance(before, ir.ExternalTensor)
    assert external.graph.initializers["w"].const_value is before
    np.testing.assert_array_equal(after.graph.initializers["w"].const_value.numpy(), before.numpy() * 2)


def test_a_function_that_returns_something_else_is_named():
    with pytest.raises(PassFailedError, match=r"nothing returned NoneType, not an onnx\.ModelProto"):
        through_proto(ir.from_proto(proto()), lambda model: None, name="nothing")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda model: model.graph.output[0].CopyFrom(model.graph.input[0]), "output 'y' "),
        (lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", 11), "DOUBLE"),
        (lambda model: model.graph.node.pop(), "y"),
    ],
)
def test_an_optimizer_that_breaks_the_interface_or_the_graph_is_an_error(edit, message):
    def run(model, notes):
        edit(model)
        return model

    model = ir.from_proto(proto())
    after, record = run_pass(model, ForeignPass("theirs", "onnx", run))
    assert after is model
    assert record.status is PassStatus.ERROR
    assert message in record.error


DECLARING = """<ir_version: 8, opset_import: ["" : 14]>
g (float["batch", 3] x) => (float["batch", 400] y) <float["batch", 3] a> {
    a = Tanh(x)
    unused = Identity(a)
    c = MatMul(a, w)
    d = Identity(c)
    e = Neg(d)
    y = Relu(e)
}"""


def test_others_get_what_the_file_declares_and_nothing_that_was_inferred():
    """onnxruntime 1.27 to 1.31 fold a GreaterOrEqual below opset 16 only where value_info says its type."""
    seen = []

    def look(model):
        made = {name for node in model.graph.node for name in node.output}
        infos = [info for info in model.graph.value_info if info.name in made]
        seen.append({info.name: len(info.type.tensor_type.shape.dim) for info in infos})
        model.graph.node.append(onnx.helper.make_node("Abs", [model.graph.node[0].output[0]], [f"dead{len(seen)}"]))
        return model

    class LookAtIr(ir.passes.InPlacePass):
        def call(self, model):
            seen.append({value.name: len(value.shape) for node in model.graph for value in node.outputs if value.shape})
            return ir.passes.PassResult(model, False)

    _, records = run_pipeline(
        ir.from_proto(proto(DECLARING)), [look, "eliminate_identity_ops", look, LookAtIr(), "eliminate_dead_nodes"]
    )
    assert [record.status for record in records if record.error] == []
    assert seen == [{"a": 2}, {"a": 2}, {"a": 2, "y": 2}]
    seen.clear()
    attribute(ir.from_proto(proto(DECLARING)), passes=["eliminate_identity_ops", look], leave_one_out=True)
    assert seen
    assert all(info == {"a": 2} for info in seen)
    seen.clear()
    run_pass(ir.from_proto(proto(DECLARING)), look)
    assert seen == [{"a": 2}]


def test_our_passes_know_every_shape_before_and_after_a_foreign_one():
    seen = []

    class Knows(Pass):
        name = "knows"

        def rewrite(self, rewriter):
            seen.append([value.shape is not None for node in rewriter.model.graph for value in node.outputs])

    def add_dead(model):
        model.graph.node.append(onnx.helper.make_node("Abs", [model.graph.node[0].output[0]], ["dead"]))
        return model

    run_pipeline(ir.from_proto(proto(DECLARING)), [Knows(), add_dead, Knows()])
    assert len(seen) == 2
    assert all(map(all, seen))


def test_contrib_operators_that_a_function_adds_without_their_import_are_imported():
    """onnxruntime's transformers tool writes them so."""

    def by_contrib(model):
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type, node.domain = "QuickGelu", "com.microsoft"
        return model

    after, record = run_pass(ir.from_proto(proto()), by_contrib)
    assert (record.error, after.opset_imports["com.microsoft"]) == (None, 1)
