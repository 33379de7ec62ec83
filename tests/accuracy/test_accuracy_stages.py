"""Stages: tensors to arrays, inputs to feeds, and which weights are not finite."""

import math

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.accuracy import nonfinite_parameters, session_stage, to_numpy, torch_stage
from pytest_modelcheck.accuracy.stages import feeds_for
from pytest_modelcheck.calling import module_inputs
from pytest_modelcheck.runtimes import FeedError, open_session

ADD = '<ir_version: 8, opset_import: ["" : 18]> g (float[2] a, float[2] b) => (float[2] y) { y = Add(a, b) }'


@pytest.mark.parametrize(
    ("torch_dtype", "numpy_dtype"),
    [
        (torch.float32, np.float32),
        (torch.float16, np.float16),
        (torch.bfloat16, ml_dtypes.bfloat16),
        (torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
        (torch.float8_e5m2, ml_dtypes.float8_e5m2),
        (torch.int64, np.int64),
        (torch.bool, np.bool_),
        (torch.complex64, np.complex64),
    ],
)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 3)])
def test_a_tensor_becomes_an_array_of_the_same_dtype_shape_and_values(torch_dtype, numpy_dtype, shape):
    tensor = torch.randn(shape).to(torch_dtype)
    array = to_numpy(tensor)
    assert array.dtype == numpy_dtype
    assert array.shape == shape
    wide = np.complex64 if tensor.is_complex() else np.float32
    np.testing.assert_array_equal(
        array.astype(wide), tensor.to(torch.complex64 if tensor.is_complex() else torch.float32)
    )


def test_tensors_with_gradients_transposed_or_conjugated_are_read_right():
    tensor = torch.randn(2, 3, dtype=torch.complex64, requires_grad=True)
    np.testing.assert_array_equal(to_numpy(tensor.conj().T), np.conj(tensor.detach().numpy()).T)
    half = torch.arange(6.0).reshape(2, 3).to(torch.bfloat16)
    np.testing.assert_array_equal(to_numpy(half.T).astype(np.float32), np.arange(6.0).reshape(2, 3).T)


def test_a_bfloat16_module_runs_as_a_stage_with_nested_inputs():
    class Sum(torch.nn.Module):
        def forward(self, x, states):
            return x + states[0] + states[1], None

    case = ModelCase("sum", Sum, lambda seed: {"x": torch.ones(2, dtype=torch.bfloat16), "states": [torch.ones(2)] * 2})
    module = Sum()
    with torch_stage(case, module).open() as run:
        outputs = run(module_inputs(case, module, 0))
    assert [(name, array.tolist()) for name, array in outputs.items()] == [("output_0", [3, 3])]


def test_feeds_are_matched_by_name_and_what_the_graph_does_not_take_is_left_out():
    session = open_session(ir.from_onnx_text(ADD))
    inputs = {"b": torch.ones(2), "unused": torch.ones(1), "flag": None, "a": np.zeros(2, np.float32)}
    assert sorted(feeds_for(session, inputs)) == ["a", "b"]


def test_an_input_that_is_not_there_is_an_error_with_both_lists():
    session = open_session(ir.from_onnx_text(ADD), name="adding")
    with pytest.raises(FeedError, match="adding: nothing to feed to 'b'; inputs that it does not name: 'c'"):
        feeds_for(session, {"a": torch.ones(2), "c": torch.ones(2)})


def test_an_open_session_stays_open_after_its_stage():
    session = open_session(ir.from_onnx_text(ADD))
    feeds = {"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)}
    for _ in range(2):
        with session_stage("s", session).open() as run:
            assert run(feeds)["y"].tolist() == [2, 2]


def test_parameters_and_buffers_that_are_not_finite_are_named_nan_first():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2))
    assert nonfinite_parameters(module) == ()
    with torch.no_grad():
        module[0].bias[1] = -math.inf
        module[1].running_var[0] = math.nan
        module[2].weight.data = module[2].weight.data.to(torch.bfloat16)
        module[2].weight[0, 0] = math.nan
    assert nonfinite_parameters(module) == ("2.weight", "1.running_var", "0.bias")


def test_initializers_that_are_not_finite_are_named_and_integers_are_no_matter():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2] x) => (float[2] y) <float[2] good = {1, 2}, float[2] bad = {1, 2}, int64[1] count = {3}> {
     y = Sum(x, good, bad)
    }"""
    model = ir.from_onnx_text(text)
    assert nonfinite_parameters(model) == ()
    model.graph.initializers["bad"].const_value = ir.tensor(np.array([1, np.nan], np.float32), name="bad")
    assert nonfinite_parameters(model) == ("bad",)
