"""The checker's words with the name of the model, and shape inference that keeps the caller's contract."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph.failing_node import failing_node
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.graph.validity import check_model
from pytest_modelcheck.pipeline import checked_copy

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[N,3] x) => (float[M,4] y)
<float[3,4] w> {
    a = MatMul(x, w)
    y = Relu(a)
}"""


def made():
    model = ir.from_onnx_text(TEXT.replace("<float[3,4] w> ", ""))
    weight = ir.Value(name="w", const_value=ir.tensor(np.ones((3, 4), dtype=np.float32), name="w"))
    model.graph.initializers["w"] = weight
    model.graph[0].replace_input_with(1, weight)
    return model


def test_a_good_model_passes():
    check_model(made())


def test_an_empty_model_is_refused_by_name():
    model = ir.Model(ir.Graph([], [], nodes=[], opset_imports={"": 18}), ir_version=10)
    with pytest.raises(InvalidModelError, match="the result is empty: it has no node and no output"):
        check_model(model, what="the result")


def test_an_unknown_operator_is_named():
    model = made()
    model.graph[1].op_type = "Rel"
    said = r"model does not pass onnx\.checker: No Op registered for Rel .* OpType: Rel \(node 'y'\)$"
    with pytest.raises(InvalidModelError, match=said):
        check_model(model)
    model.graph[1].name = "last"
    with pytest.raises(InvalidModelError, match=r"model does not pass onnx\.checker: No Op .* Name: last OpType: Rel"):
        check_model(model)


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ("a = Relu(x, x) y = Relu(a)", "a"),
        ("a = Relu(x) y = Concat(a, a)", "y"),
        ("a = Relu(b) b = Relu(x) y = Relu(b)", "a"),  # not in order
    ],
)
def test_a_node_without_a_name_is_named_by_what_it_makes(body, node):
    text = f'<ir_version: 10, opset_import: ["" : 18]> g (float[3] x) => (float[3] y) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(proto)
    assert failing_node(proto) == f"node {node!r}"


def test_no_node_is_named_where_the_graph_is_at_fault_or_a_function_is_called():
    text = """<ir_version: 10, opset_import: ["" : 18, "own" : 1]>
    g (float[3] x) => (float[3] y) { y = own.Twice(x) }
    <domain: "own", opset_import: ["" : 18]> Twice (x) => (y) { y = Add(x, x) }"""
    proto = onnx.parser.parse_model(text)
    proto.graph.name = ""
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(proto)
    assert failing_node(proto) == ""


def test_inference_fills_in_what_is_between_and_keeps_the_interface():
    model = made()
    infer_shapes(model)
    assert str(model.graph[0].outputs[0].shape) == "[N,4]"
    assert str(model.graph.outputs[0].shape) == "[M,4]"


def test_values_of_the_same_type_have_it_in_objects_of_their_own():
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["" : 18]>
    g (float[N,4] x) => (float[N,4] y) {
        a = Neg(x)
        b = Abs(a)
        y = Relu(b)
    }""")
    infer_shapes(model)
    first, second = (node.outputs[0] for node in list(model.graph)[:2])
    assert (first.type, first.shape) == (second.type, second.shape)
    first.dtype = ir.DataType.DOUBLE
    first.shape[0] = 7
    assert (second.dtype, str(second.shape)) == (ir.DataType.FLOAT, "[N,4]")
    infer_shapes(model)  # what was edited is not what the next model is given
    assert (second.dtype, str(second.shape)) == (ir.DataType.FLOAT, "[N,4]")


def test_sequences_keep_their_whole_type():
    model = ir.from_onnx_text(SEQUENCE)
    infer_shapes(model)
    first, second = (node.outputs[0].type for node in list(model.graph)[:2])
    assert first == second == ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    assert first is not second
    assert first.elem_type is not second.elem_type


SEQUENCE = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) {
    s = SequenceConstruct(x)
    t = SequenceConstruct(x)
    i = Constant <value = int64 {0}> ()
    a = SequenceAt(s, i)
    b = SequenceAt(t, i)
    y = Add(a, b)
}"""


def test_a_checked_copy_is_inferred_and_the_model_is_not_touched():
    model = made()
    weight = model.graph.initializers["w"].const_value
    copy = checked_copy(model)
    assert str(copy.graph[0].outputs[0].shape) == "[N,4]"
    assert model.graph[0].outputs[0].shape is None
    assert copy.graph.initializers["w"].const_value is weight
    model.graph[1].op_type = "Rel"
    with pytest.raises(InvalidModelError, match=r"model does not pass onnx\.checker"):
        checked_copy(model)


def test_inference_of_an_invalid_model_changes_nothing_and_is_silent(capsys):
    model = made()
    model.graph[0].op_type = "Gem"
    infer_shapes(model)
    assert model.graph[0].outputs[0].shape is None
    assert capsys.readouterr() == ("", "")
    assert list(model.graph.initializers) == ["w"]
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_a_weight_above_the_size_that_is_handed_over_stays_where_it_was():
    model = made()
    tensor = ir.tensor(np.ones((3, 400), dtype=np.float32), name="w")
    model.graph.initializers["w"].const_value = tensor
    infer_shapes(model)
    check_model(model)
    assert model.graph.initializers["w"].const_value is tensor
    assert str(model.graph[0].outputs[0].shape) == "[N,400]"
