"""What is a constant, by whichever attribute or initializer it is written."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from pytest_modelcheck.graph.constants import constant_array, constant_tensor


def made_by(**attributes):
    """The value of a Constant node, read from a file as passes meet it."""
    node = helper.make_node("Constant", [], ["c"], **attributes)
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, None)])
    return ir.from_proto(helper.make_model(graph)).graph[0].outputs[0]


@pytest.mark.parametrize(
    ("attributes", "content"),
    [
        ({"value": numpy_helper.from_array(np.array([1, 2], np.int64))}, np.array([1, 2], np.int64)),
        ({"value": numpy_helper.from_array(np.zeros((64, 64), np.float32))}, np.zeros((64, 64), np.float32)),
        ({"value": numpy_helper.from_array(np.float16(0.5))}, np.float16(0.5)),
        ({"value_float": 0.5}, np.float32(0.5)),
        ({"value_floats": [0.5, 1.5]}, np.array([0.5, 1.5], np.float32)),
        ({"value_int": -1}, np.int64(-1)),
        ({"value_ints": [-1, 2]}, np.array([-1, 2], np.int64)),
        ({"value_string": "a"}, np.array(b"a")),
    ],
)
def test_every_attribute_that_a_constant_can_have_is_read(attributes, content):
    value = made_by(**attributes)
    for _ in range(2):  # the second look may take what the first has kept
        array = constant_array(value)
        assert array.shape == content.shape
        assert array.dtype == content.dtype or content.dtype.kind == "S"
        assert np.array_equal(array, content)
        assert constant_tensor(value).dtype == ir.convenience.get_const_tensor(made_by(**attributes)).dtype


def test_a_small_constant_is_decoded_once(monkeypatch):
    value = made_by(value=numpy_helper.from_array(np.array([1, 2], np.int64)))
    first = constant_array(value)
    monkeypatch.setattr(ir.TensorProtoTensor, "numpy", None)
    assert constant_array(value) is first


def test_a_constant_that_the_caller_of_a_function_sets_is_none():
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["": 17, "d": 1]>
        main () => (float[1] y) { y = d.f <n = 2.0> () }
        <domain: "d", opset_import: ["": 17]> f <n> () => (y) { y = Constant <value_float: float = @n> () }""")
    (function,) = ir.from_proto(model).functions.values()
    assert constant_tensor(function[0].outputs[0]) is None


def test_an_initializer_is_a_constant_unless_the_caller_may_override_it():
    graph = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 18]>
        g (float[1] x) => (float[1] y) <float[1] w = {2.0}> { y = Add(x, w) }""").graph
    weight = graph.initializers["w"]
    assert constant_array(weight).tolist() == [2.0]
    graph.inputs.append(weight)
    assert constant_array(weight) is None


def test_what_is_computed_or_no_value_at_all_is_no_constant():
    graph = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 18]>
        g (float[1] x) => (float[1] y) { y = Neg(x) }""").graph
    assert constant_tensor(graph.outputs[0]) is None
    assert constant_tensor(graph.inputs[0]) is None
    assert constant_tensor(None) is None
