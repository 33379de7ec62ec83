"""The guilty rewrite of an optimizer that is not ours, by its own switches."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.accuracy import (
    Switchable,
    UnusableReferenceError,
    find_guilty_runtime_rewrite,
    find_guilty_switch,
)
from pytest_modelcheck.runtimes import runtime_named

CHAIN = """<ir_version: 8, opset_import: ["" : 18]>
g (float[4] x) => (float[4] y) <float one = {1}, float two = {2}, float three = {3}> {
 a = Add(x, one)
 b = Mul(a, two)
 y = Sub(b, three)
}"""
X = {"x": np.array([1.0, 2.0, 3.0, 4.0], np.float32)}
NAMES = ("keep_1", "keep_2", "one", "keep_3", "two", "three", "keep_4")


def harmful(*wrong):
    """An optimizer whose rewrites named here change the constant of that name."""

    def run(model, left_out):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        for tensor in copy.graph.initializer:
            if tensor.name in wrong and tensor.name not in left_out:
                value = onnx.numpy_helper.to_array(tensor) * 1.01
                tensor.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float32), tensor.name))
        return copy

    return Switchable("other", NAMES, run)


def test_an_optimizer_that_keeps_the_numbers_has_no_guilty_switch():
    assert find_guilty_switch(ir.from_onnx_text(CHAIN), harmful(), X) is None


@pytest.mark.parametrize("wrong", ["one", "two", "three"])
def test_the_one_harmful_rewrite_is_named(wrong):
    found = find_guilty_switch(ir.from_onnx_text(CHAIN), harmful(wrong), X)
    assert (found.switch, found.alone) == (wrong, True)
    assert found.describe() == f"other: rewrite {wrong}"


def test_the_first_of_two_harmful_rewrites_is_named_and_that_there_are_more():
    found = find_guilty_switch(ir.from_onnx_text(CHAIN), harmful("three", "one"), X)
    assert (found.switch, found.alone) == ("one", False)
    assert found.describe() == "other: rewrite one, and further ones: without it alone the numbers still differ"


def test_harm_that_no_switch_turns_off_is_said_to_be_so():
    optimizer = harmful("one")
    optimizer = Switchable("other", ("keep_1", "keep_2"), optimizer.run)
    found = find_guilty_switch(ir.from_onnx_text(CHAIN), optimizer, X)
    assert found.switch is None
    assert found.describe() == "other: the numbers differ with every rewrite that it can leave out left out"


def test_a_model_that_gives_nan_by_itself_blames_no_rewrite():
    with pytest.raises(UnusableReferenceError, match="gives NaN by itself"):
        find_guilty_switch(ir.from_onnx_text(CHAIN), harmful("one"), {"x": np.full(4, np.nan, np.float32)})


POOL = """<ir_version: 8, opset_import: ["" : 18]>
g (float[1,1,4,4] x) => (float[1,1,3,3] y) <int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, float zero = {0}> {
 padded = Pad <mode = "constant"> (x, pads, zero)
 y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (padded)
}"""


def test_the_exact_name_of_onnxruntimes_own_rewrite_is_found_by_leaving_it_out():
    image = {"x": np.random.default_rng(0).normal(-2, 1, (1, 1, 4, 4)).astype(np.float32)}
    found = find_guilty_runtime_rewrite(ir.from_onnx_text(POOL), image)
    if found is None:
        pytest.skip("this onnxruntime has repaired the fold of Pad into MaxPool")
    assert found.describe() == "onnxruntime: rewrite Pad_Fusion"


def test_onnxruntimes_rewrites_are_named_as_its_log_names_them_and_stderr_comes_back(capfd):
    rewrites = runtime_named("onnxruntime").rewrites
    assert "Level1_RuleBasedTransformer" in rewrites(ir.from_onnx_text(POOL))
    assert rewrites(ir.from_onnx_text(CHAIN)) == ()
    import sys

    print("still there", file=sys.stderr)
    assert capfd.readouterr().err == "still there\n"


def test_onnxslims_own_patterns_are_its_switches():
    onnxslim = pytest.importorskip("onnxslim")
    patterns = pytest.importorskip("onnxslim.core.pattern.registry").DEFAULT_FUSION_PATTERNS

    def run(model, left_out):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        return onnxslim.slim(copy, skip_fusion_patterns=sorted(left_out))

    switches = Switchable("onnxslim", tuple(patterns), run)
    assert "FusionConvBN" in switches.switches
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,1,4,4] x) => (float[1,1,2,2] y) <float[1,1,3,3] w = {1,2,3,4,5,6,7,8,9}, float[1] b = {1},
      float[1] scale = {2}, float[1] mean = {0.5}, float[1] var = {3}> {
     a = Conv(x, w, b)
     y = BatchNormalization(a, scale, b, mean, var)
    }"""
    model = ir.from_onnx_text(text)
    proto = ir.to_proto(model)
    assert [node.op_type for node in switches.run(proto, frozenset()).graph.node] == ["Conv"]
    kept = switches.run(proto, frozenset({"FusionConvBN"}))
    assert [node.op_type for node in kept.graph.node] == ["Conv", "BatchNormalization"]
    image = {"x": np.random.default_rng(0).normal(size=(1, 1, 4, 4)).astype(np.float32)}
    assert find_guilty_switch(model, switches, image) is None
