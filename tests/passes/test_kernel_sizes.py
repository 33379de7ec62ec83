"""Sizes that kernels make differently from ONNX shape inference: onnxruntime's own output decides."""

import itertools
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import outputs

X = np.linspace(-1, 1, 1 * 2 * 7 * 10, dtype=np.float32).reshape(1, 2, 7, 10)


def model_of(op: str, opset: int, *inputs: Any, **attributes: Any) -> onnx.ModelProto:
    """One node over `X` of a fixed size, and the Shape of what it makes."""
    given = {f"c{index}": array for index, array in enumerate(inputs) if array is not None}
    names = ["x", *("" if array is None else f"c{index}" for index, array in enumerate(inputs))]
    nodes = [helper.make_node(op, names, ["r"], **attributes), helper.make_node("Shape", ["r"], ["s"])]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Neg", ["s"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, X.shape)],
        [helper.make_tensor_value_info("y", 7, [4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in given.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def assert_folded_as_computed(model: onnx.ModelProto) -> None:
    expected = outputs(model, {"x": X})["y"]
    after = optimize(model)
    assert [node.op_type for node in after.graph.node if node.op_type != "Constant"] == []
    assert outputs(after, {"x": X})["y"].tolist() == expected.tolist()


WINDOWS = list(itertools.product((1, 2, 3), (2, 3, 5), ([0] * 4, [1] * 4, [0, 1, 1, 0]), (1, 2)))


@pytest.mark.parametrize("opset", [11, 18, 19, 22])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_window_that_begins_in_the_end_padding_is_not_counted(op: str, opset: int) -> None:
    tried = 0
    for kernel, stride, pads, dilation in WINDOWS:
        if max(pads) >= kernel or (dilation > 1 and (op == "AveragePool" and opset < 19)):
            continue
        dilations = {"dilations": [dilation] * 2} if op == "MaxPool" or opset >= 19 else {}
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads, "ceil_mode": 1, **dilations}
        assert_folded_as_computed(model_of(op, opset, **attributes))
        tried += 1
    assert tried > 20


@pytest.mark.parametrize(("opset", "roi"), [(11, np.zeros(0, np.float32)), (13, None), (18, None), (23, None)])
@pytest.mark.parametrize("scales", [(0.6, 0.7), (1.3, 2.7), (0.49, 0.5), (0.99, 1.01), (2.5, 0.334), (8 / 7, 1.1)])
def test_a_resize_by_scales_is_as_large_as_single_precision_makes_it(opset: int, roi: Any, scales: Any) -> None:
    factors = np.array([1, 1, *scales], np.float32)
    assert_folded_as_computed(model_of("Resize", opset, roi, factors, mode="nearest"))


def test_sizes_behind_and_the_indices_of_a_pool_follow() -> None:
    text = """<ir_version: 10, opset_import: ["" : 17]> g (float[1,2,7,10] x) => (float[a,b,c,d] y, int64[e,f,g,h] z) {
        p, i = MaxPool <kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1> (x)
        q = MaxPool <kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1> (p)
        y = Relu (q) z = Identity (i)
    }"""
    model = ir.from_onnx_text(text)
    infer_shapes(model)
    first, second, *_ = model.graph

    assert str(first.outputs[0].shape) == str(first.outputs[1].shape) == "[1,2,4,5]"
    assert first.outputs[1].dtype == ir.DataType.INT64
    assert str(second.outputs[0].shape) == "[1,2,2,3]"
