"""Types inside functions: what all calls agree on, and nothing else."""

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.graph.validity import check_model

HEADER = '<ir_version: 10, opset_import: ["" : 20, "local" : 1]>'
BODY = """<opset_import: ["" : 20], domain: "local">
Body (x) => (y) { a = Relu(x) y = Transpose<perm = [1, 0]>(a) }"""
OUTER = """<opset_import: ["" : 20, "local" : 1], domain: "local">
Outer (x) => (y) { b = Neg(x) y = local.Body(b) }"""


def inferred(graph, *functions):
    model = ir.from_proto(onnx.parser.parse_model("\n".join([HEADER, graph, *functions])))
    infer_shapes(model)
    check_model(model)
    return model


def described(model, name, value):
    function = next(function for function in model.functions.values() if function.name == name)
    values = {output.name: output for node in function for output in node.outputs}
    return str(values[value].type), str(values[value].shape)


def test_the_types_of_the_one_call_hold_in_the_body():
    model = inferred("g (float[n, 4] x) => (float[a, b] y) { y = local.Body(x) }", BODY)

    assert described(model, "Body", "a") == ("FLOAT", "[n,4]")
    assert described(model, "Body", "y") == ("FLOAT", "[4,n]")


def test_what_two_calls_disagree_on_is_not_known():
    graph = """g (float[3, 4] x, float[5, 4] z) => (float[a, b] y, float[c, d] w) {
        y = local.Body(x) w = local.Body(z)
    }"""
    model = inferred(graph, BODY)

    assert described(model, "Body", "a")[0] == "FLOAT"
    function = next(iter(model.functions.values()))
    assert [isinstance(dim, int) for dim in function.inputs[0].shape] == [False, True]


def test_calls_with_two_element_types_leave_the_body_unknown():
    graph = """g (float[3, 4] x, double[3, 4] z) => (float[a, b] y, double[c, d] w) {
        y = local.Body(x) w = local.Body(z)
    }"""

    assert described(inferred(graph, BODY), "Body", "a") == ("None", "None")


def test_a_function_called_by_a_function_gets_its_types_through_it():
    model = inferred("g (float[n, 4] x) => (float[a, b] y) { y = local.Outer(x) }", BODY, OUTER)

    assert described(model, "Body", "a") == ("FLOAT", "[n,4]")


@pytest.mark.parametrize("calls", ["y = Relu(x)", "y = local.Scaled<factor = 2>(x)"])
def test_a_function_that_nobody_calls_or_that_takes_attributes_stays_unknown(calls):
    scaled = """<opset_import: ["" : 20], domain: "local">
    Scaled <factor> (x) => (y) { y = LeakyRelu<alpha: float = @factor>(x) }"""
    model = inferred(f"g (float[n, 4] x) => (float[a, b] y) {{ {calls} }}", scaled)

    assert described(model, "Scaled", "y") == ("None", "None")
