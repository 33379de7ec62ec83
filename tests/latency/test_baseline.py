"""A graph locked without its weights: small, read back whole, given weights again, refused where it does not fit."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import export
from pytest_modelcheck.latency.baseline import (
    BaselineError,
    BaselineGraph,
    RestoredWeights,
    locked_graph,
    read_baseline,
    render_baseline,
    with_weights,
)
from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, open_session
from tests.latency.graphs_with_weights import two_layers

X = {"x": np.ones((2, 64), np.float32)}


def locked(model):
    return render_baseline(BaselineGraph(model, "onnx, target portable"))


def outputs_of(model, feeds):
    return open_session(model).run(feeds)


def test_the_text_begins_with_rows_for_people():
    assert locked(two_layers()).splitlines()[:7] == [
        "made by: onnx, target portable",
        "opset: ai.onnx 18",
        "input: x FLOAT [2,64]",
        "output: y FLOAT [2,64]",
        "nodes: Add 1, MatMul 2, Relu 1",
        "weights: 2, not kept",
        "",
    ]


def test_it_holds_no_large_weight_and_is_the_same_each_time():
    model = two_layers()
    text = locked(model)
    assert text == locked(model)
    assert len(text) < 2000 < 64 * 64 * 4
    assert max(map(len, text.splitlines())) <= 120


def test_with_todays_weights_it_computes_what_it_computed():
    model = two_layers()
    restored, weights = with_weights(read_baseline(locked(model)), model)
    assert weights == RestoredWeights(equal=2, named=0, seeded=0)
    assert weights.all_equal
    np.testing.assert_array_equal(outputs_of(restored, X)["y"], outputs_of(model, X)["y"])


def test_a_renamed_weight_is_found_by_its_content():
    model = two_layers()
    renamed = two_layers(first="other_name")
    assert with_weights(read_baseline(locked(model)), renamed)[1].all_equal


def test_a_changed_weight_is_taken_by_name_and_one_that_is_gone_is_random_and_the_same_each_time():
    text = locked(two_layers(seed=1))
    today = two_layers(first="other_name", seed=2)
    restored, weights = with_weights(read_baseline(text), today)
    assert str(weights) == "0 of 2 weights are today's, 1 are today's by name, with other content, 1 are random"
    again, _ = with_weights(read_baseline(text), today)
    drawn, same = (model.graph.initializers["w1"].const_value.numpy() for model in (restored, again))
    np.testing.assert_array_equal(drawn, same)
    assert drawn.std() == pytest.approx(0.02, rel=0.1)
    np.testing.assert_array_equal(restored.graph.initializers["w2"].const_value.numpy(), weight(today, "w2"))


def weight(model, name):
    return model.graph.initializers[name].const_value.numpy()


def test_a_real_export_comes_back_and_computes_the_same():
    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(32, 4, batch_first=True)
            self.norm = torch.nn.LayerNorm(32)

        def forward(self, x):
            return self.norm(x + self.attention(x, x, x)[0])

    case = ModelCase("block", Block, lambda seed: {"x": torch.randn(2, 5, 32)}, dynamic_axes={"x": {1: "sequence"}})
    model = export(case).model
    x = {"x": np.random.default_rng(0).standard_normal((2, 5, 32)).astype(np.float32)}
    before = outputs_of(model, x)
    text = locked(model)
    restored, weights = with_weights(read_baseline(text), model)
    assert weights.all_equal
    for name, array in outputs_of(restored, x).items():
        np.testing.assert_array_equal(array, before[name])
    assert len(text) < 20_000


def test_small_weights_and_integers_are_kept_although_they_lie_in_a_file(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,64] x) => (float[2,32] y) <float[1] scale = {3.0}, int64[2] shape = {2, 64}> {
        a = Reshape(x, shape) b = Mul(a, scale) y = MatMul(b, x) }"""
    model = ir.from_onnx_text(text)  # its x is made w below
    weight = ir.Value(name="w", const_value=ir.tensor(np.ones((64, 32), np.float32), name="w"))
    model.graph.register_initializer(weight)
    next(node for node in model.graph if node.op_type == "MatMul").replace_input_with(1, weight)
    path = tmp_path / "model.onnx"
    ir.save(model, path, external_data="model.onnx.data", size_threshold_bytes=0)
    text = locked(ir.load(path))
    (tmp_path / "model.onnx.data").rename(tmp_path / "gone")
    restored, weights = with_weights(read_baseline(text), model)
    assert weights.all_equal
    np.testing.assert_array_equal(outputs_of(restored, X)["y"], outputs_of(model, X)["y"])


def test_a_locked_graph_can_be_opened_from_its_file_while_the_block_runs():
    model = two_layers()
    with locked_graph(locked(model), model, X) as other:
        assert other.notes == ()
        assert open_session(other.path, AT_DEFAULT_LEVEL).run(other.feeds)["y"].shape == (2, 64)
    assert not other.path.exists()


def test_another_opset_and_other_names_of_inputs_are_told():
    older = two_layers(opset=13, input_name="pixels")
    with locked_graph(locked(older), two_layers(), X) as other:
        assert list(other.feeds) == ["pixels"]
        assert other.notes == (
            "the locked graph is of opset 13, today's of 18",
            "the locked graph's input 'pixels' is fed what 'x' is fed",
        )


@pytest.mark.parametrize("shape", ["float[2,32]", "float[2,64,1]", "int64[2,64]"])
def test_inputs_that_cannot_be_the_same_are_refused_with_both_lists(shape):
    other = ir.from_onnx_text(
        f'<ir_version: 8, opset_import: ["" : 18]> g ({shape} z) => ({shape} y) {{ y = Identity(z) }}'
    )
    message = r"the locked graph takes z .*; today's takes x FLOAT \[2,64\]: they cannot be timed side by side"
    with pytest.raises(BaselineError, match=message), locked_graph(locked(other), two_layers(), X):
        pass


def test_another_number_of_inputs_is_refused():
    two = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[2,64] x, float[2,64] z) => (float[2,64] y) { y = Add(x, z) }'
    )
    with pytest.raises(BaselineError, match="cannot be timed side by side"), locked_graph(locked(two), two_layers(), X):
        pass


@pytest.mark.parametrize("text", ["", "nodes: 3\n", "a\ngraph: 3 bytes\n!!!\n", "a\ngraph: 3 bytes\nabcde\n"])
def test_a_text_that_holds_no_graph_is_refused(text):
    with pytest.raises(BaselineError, match="record it again"):
        read_baseline(text)
