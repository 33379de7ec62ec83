"""Running passes: what a record says, passes that lie or break, foreign passes, and what is left untouched."""

import dataclasses
import gc

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from onnx_ir.passes.common import RemoveUnusedNodesPass

from pytest_modelcheck.errors import InvalidModelError, OptionError, PassFailedError
from pytest_modelcheck.graph import gc_pause
from pytest_modelcheck.graph.compare import graphs_equal
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import (
    PassStatus,
    known_pass_names,
    optimize,
    pass_name,
    resolve_passes,
    run_pass,
    run_pipeline,
)

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y)
<float[2] w = {1, 2}> {
    a = Add(x, w)
    b = Identity(a)
    y = Relu(b)
}"""

(IDENTITY,) = resolve_passes(["eliminate_identity_ops"])


@pytest.fixture
def model():
    return ir.from_onnx_text(TEXT)


@dataclasses.dataclass(frozen=True)
class Foreign(ir.passes.InPlacePass):
    """An onnx_ir pass of somebody else: does what `edit` does and claims what `claims` says."""

    edit: object
    claims: bool

    def call(self, model):
        self.edit(model)
        return ir.passes.PassResult(model, self.claims)


def nothing(model):
    pass


def add_dead_node(model):
    model.graph.insert_before(model.graph[0], ir.node("Neg", [model.graph.inputs[0]]))


def test_a_pass_that_changes_the_graph_has_fired(model):
    after, record = run_pass(model, IDENTITY)
    assert (record.name, record.status, record.delta) == ("eliminate_identity_ops", PassStatus.FIRED, -1)
    assert (record.claimed, record.changed, record.error) == (True, True, None)
    assert record.ops_before == {"Add": 1, "Identity": 1, "Relu": 1}
    assert record.ops_after == {"Add": 1, "Relu": 1}
    assert record.ops_delta == {"Identity": -1}
    assert [node.op_type for node in after.graph] == ["Add", "Relu"]


def test_a_pass_with_nothing_to_do_is_a_no_op_and_gives_the_model_back(model):
    after, record = run_pass(model, resolve_passes(["fuse_gelu"])[0])
    assert (record.status, record.claimed, record.changed, record.delta) == (PassStatus.NO_OP, False, False, 0)
    assert after is model


def test_a_pass_whose_candidates_all_stay_has_refused_with_reasons():
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] z)
    <float[2,2,1,1] w = {1, 2, 3, 4}, float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0, 1},
     float[2] v = {1, 2}> {
        z = Conv(x, w)
        y = BatchNormalization(z, s, b, m, v)
    }"""
    _, record = run_pass(ir.from_onnx_text(text), resolve_passes(["fuse_conv_batchnorm"])[0])
    assert record.status is PassStatus.REFUSED
    assert len(record.refusals) == 1
    assert record.refusals[0].reason


@pytest.mark.parametrize(
    ("edit", "claims", "status", "changed"),
    [
        (add_dead_node, False, PassStatus.FIRED, True),
        (nothing, True, PassStatus.NO_OP, False),
        (add_dead_node, True, PassStatus.FIRED, True),
        (nothing, False, PassStatus.NO_OP, False),
    ],
)
def test_what_a_pass_claims_and_what_it_did_are_two_facts(model, edit, claims, status, changed):
    _, record = run_pass(model, Foreign(edit, claims))
    assert (record.status, record.claimed, record.changed) == (status, claims, changed)


def test_renaming_inside_the_graph_is_no_change(model):
    def rename(model):
        model.graph[0].outputs[0].name = "renamed"
        model.graph[0].name = "renamed_node"

    assert run_pass(model, Foreign(rename, True))[1].status is PassStatus.NO_OP


def failing_pass(edit):
    def by_edit(model):
        changed = ir.from_proto(model)
        edit(changed)
        return ir.to_proto(changed)

    return by_edit


def rename_output(model):
    model.graph.outputs[0].name = "z"


def one_more_output(model):
    model.graph.outputs.append(model.graph[0].outputs[0])


def unknown_operator(model):
    model.graph[0].op_type = "Ad"


def retype_output(model):
    model.graph.outputs[0].dtype = ir.DataType.DOUBLE


def unsorted(model):
    node = model.graph[0]
    model.graph.remove(node)
    model.graph.append(node)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (rename_output, "the graph's interface changed: output 'y' "),
        (one_more_output, "the graph's interface changed: nothing became output 'a' "),
        (unknown_operator, "does not pass onnx.checker: "),
        (retype_output, "DOUBLE"),
        (unsorted, "does not pass onnx.checker: Nodes in a graph must be topologically sorted"),
    ],
)
def test_a_pass_that_breaks_the_model_is_an_error_and_changes_nothing(model, edit, message):
    after, record = run_pass(model, failing_pass(edit))
    assert after is model
    assert (record.status, record.changed, record.delta) == (PassStatus.ERROR, False, 0)
    assert message in record.error


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda model: None, "returned NoneType, not an onnx.ModelProto"),
        (lambda model: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda model: onnx.ModelProto(), "empty"),
    ],
)
def test_a_function_that_raises_or_returns_something_else_is_an_error(model, made, message):
    _, record = run_pass(model, made)
    assert record.status is PassStatus.ERROR
    assert message in record.error


def test_an_interrupt_goes_through(model):
    def interrupted(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_pass(model, interrupted)


def test_a_pipeline_goes_on_from_the_model_before_a_pass_that_failed(model):
    def broken(model):
        raise ValueError("mine")

    after, records = run_pipeline(model, [broken, IDENTITY])
    assert [record.status for record in records] == [PassStatus.ERROR, PassStatus.FIRED]
    assert len(after.graph) == 2


def test_foreign_passes_stand_beside_ours(model):
    def remove_relu(model):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        copy.graph.node.insert(0, helper.make_node("Abs", ["x"], ["unused"]))
        return copy

    library = RemoveUnusedNodesPass()
    after, records = run_pipeline(model, [remove_relu, library, IDENTITY])
    assert [(record.name, record.delta) for record in records] == [
        ("remove_relu", 1),
        ("RemoveUnusedNodesPass", -1),
        ("eliminate_identity_ops", -1),
    ]
    assert len(after.graph) == 2


def test_the_original_stays_as_it_was_and_weights_are_shared(model):
    before = ir.to_proto(model).SerializeToString()
    after, _ = run_pipeline(model, [IDENTITY])
    assert ir.to_proto(model).SerializeToString() == before
    assert after.graph.initializers["w"].const_value is model.graph.initializers["w"].const_value


def test_a_pass_that_edits_a_weight_in_place_has_changed_the_model_and_not_the_original(model):
    def double(model):
        value = model.graph.initializers["w"]
        value.const_value = ir.tensor(value.const_value.numpy() * 2, name="w")

    _, record = run_pass(model, Foreign(double, False))
    assert (record.status, record.delta) == (PassStatus.FIRED, 0)
    assert model.graph.initializers["w"].const_value.numpy().tolist() == [1, 2]


def test_an_invalid_model_and_an_unknown_target_are_refused(model):
    with pytest.raises(OptionError, match="target 'opset22' is unknown; choose one of portable, opset23, onnxruntime"):
        run_pipeline(model, target="opset22")
    unknown_operator(model)
    with pytest.raises(InvalidModelError, match=r"does not pass onnx\.checker"):
        run_pipeline(model)


def test_optimize_gives_back_the_kind_it_got(model, tmp_path):
    assert len(optimize(model).graph) == 2
    proto = ir.to_proto(model)
    made = optimize(proto)
    assert isinstance(made, onnx.ModelProto)
    assert (len(made.graph.node), len(proto.graph.node)) == (2, 3)
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    assert optimize(path) == tmp_path / "net.optimized.onnx"
    assert optimize(str(path), output=tmp_path / "deep" / "o.onnx") == tmp_path / "deep" / "o.onnx"
    assert len(onnx.load(tmp_path / "deep" / "o.onnx").graph.node) == 2
    assert len(onnx.load(path).graph.node) == 3


def test_optimize_gives_a_new_object_even_where_nothing_changed(model):
    made = optimize(model, passes=resolve_passes(["fuse_gelu"]))
    assert made is not model
    assert graphs_equal(made, model)


def test_optimize_raises_where_a_pass_fails_and_writes_nothing(model, tmp_path):
    def broken(model):
        raise ValueError("mine")

    path = tmp_path / "net.onnx"
    onnx.save(ir.to_proto(model), path)
    with pytest.raises(PassFailedError, match="broken: ValueError: mine"):
        optimize(path, passes=[broken])
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_stay_the_same_through_the_default_pipeline(model):
    from onnx.reference import ReferenceEvaluator

    x = np.array([-1.0, 3.0], dtype=np.float32)
    proto = ir.to_proto(model)
    (before,), (after,) = (ReferenceEvaluator(m).run(None, {"x": x}) for m in (proto, optimize(proto)))
    assert before.tolist() == after.tolist() == [0.0, 5.0]


def test_names_of_a_pipeline():
    assert resolve_passes([]) is None
    assert resolve_passes(["", "  "]) is None
    assert resolve_passes([" fuse_gelu "])[0].name == "fuse_gelu"
    assert [pass_name(pass_) for pass_ in PASSES] == [pass_.name for pass_ in PASSES]
    assert len(set(known_pass_names())) == len(known_pass_names())
    assert known_pass_names(["math:sqrt"])[-1] == "sqrt"


def test_a_class_of_a_pass_is_made_by_its_path():
    (made,) = resolve_passes(["onnx_ir.passes.common:RemoveUnusedNodesPass"])
    assert isinstance(made, ir.passes.PassBase)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fuse_gelo", "pass 'fuse_gelo' is unknown; did you mean 'fuse_gelu'?"),
        ("xyz", "pass 'xyz' is unknown; known: eliminate_dead_nodes, "),
        ("nowhere:x", "pass 'nowhere:x' cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        (
            "math:nothing",
            "pass 'math:nothing' cannot be loaded: AttributeError: module 'math' has no attribute 'nothing'",
        ),
        ("math:pi", "pass 'math:pi' is a float: neither an onnx_ir pass nor a function"),
    ],
)
def test_a_name_that_makes_no_pass_is_an_error(name, message):
    with pytest.raises(OptionError) as caught:
        resolve_passes([name])
    assert message in str(caught.value)


def test_collection_is_paused_while_a_pipeline_runs_and_restored_even_where_it_raises(model):
    seen = []

    def watch(model):
        seen.append(gc.isenabled())

    run_pipeline(model, [Foreign(watch, False)])
    assert (seen, gc.isenabled()) == ([False], True)
    unknown_operator(model)
    with pytest.raises(InvalidModelError):
        run_pipeline(model)
    assert gc.isenabled()
    gc.disable()
    try:
        run_pipeline(ir.from_onnx_text(TEXT))
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def nothing_set_aside():
    gc.unfreeze()


def graphs_alive():
    return sum(isinstance(found, ir.Graph) for found in gc.get_objects())


@pytest.mark.parametrize(("limit", "more"), [(1_000, [0, 1, 2, 3]), (0, [0, 0, 0, 0])])
@pytest.mark.usefixtures("nothing_set_aside")
def test_graphs_that_are_thrown_away_are_collected_meanwhile_where_they_are_worth_it(model, monkeypatch, limit, more):
    seen = []

    def count(model):
        add_dead_node(model)
        seen.append(graphs_alive())

    monkeypatch.setattr(gc_pause, "_MAX_NODES", limit)
    run_pipeline(model, [Foreign(count, True)] * 4)
    assert [found - seen[0] for found in seen] == more


@pytest.mark.usefixtures("nothing_set_aside")
@pytest.mark.parametrize(("limit", "set_aside"), [(0, True), (1_000, False)])
def test_what_is_set_aside_while_a_pipeline_runs_is_collected_later(model, monkeypatch, limit, set_aside):
    frozen = []

    def count(model):
        frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(gc_pause, "_MAX_NODES", limit)
    run_pipeline(model, [Foreign(count, False)])
    assert (frozen[0] > 0) == set_aside
    assert gc.get_freeze_count() == 0


def test_objects_that_somebody_else_has_frozen_stay_frozen(model, monkeypatch):
    monkeypatch.setattr(gc_pause, "_MAX_NODES", 0)
    gc.collect()
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        run_pipeline(model)
        assert gc.get_freeze_count() > 0.9 * frozen
    finally:
        gc.unfreeze()


def test_a_pass_that_found_nothing_hands_its_copy_on_and_one_that_did_something_does_not(model):
    seen = []

    def remember(model):
        seen.append(model)

    def rename(model):
        seen.append(model)
        model.graph[0].name = "renamed"

    gelu = resolve_passes(["fuse_gelu"])[0]
    after, _ = run_pipeline(model, [gelu, Foreign(rename, False), Foreign(remember, False), IDENTITY])
    assert len({id(made) for made in seen}) == 2
    assert seen[1].graph[0].name != "renamed"
    assert after.graph[0].name != "renamed"
