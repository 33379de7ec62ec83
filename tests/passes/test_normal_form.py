"""Old forms of a file: weights among the inputs, -1 for an unknown size, functions of another opset."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.pipeline import optimize, prepare
from tests.passes.fusing_checks import make, outputs, worst_difference

DRAW = np.random.default_rng(0)


def old_resnet() -> onnx.ModelProto:
    """IR version 3, opset 8: a block of the model zoo's ResNet v1, its weights among the inputs."""
    text = """<ir_version: 3, opset_import: ["" : 8]> g (float[N,3,8,8] x) => (float[N,5] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, w) n = BatchNormalization (c, scale, bias, mean, var) r = Relu (n)
        p = GlobalAveragePool (r) s = Shape (p) b = Slice <starts = [0], ends = [1]> (s)
        t = Concat <axis = 0> (b, rest) f = Reshape (p, t) y = Gemm <transB = 1> (f, v, q)
    }"""
    sizes = {"w": (4, 3, 3, 3), "scale": 4, "bias": 4, "mean": 4, "v": (5, 4), "q": 5}
    weights = {name: DRAW.normal(size=size).astype(np.float32) for name, size in sizes.items()}
    weights |= {"var": np.ones(4, np.float32), "rest": np.array([-1])}
    model = onnx.parser.parse_model(text)
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, dtype, array.shape))
    onnx.checker.check_model(model)
    return model


def test_a_file_of_ir_version_3_is_optimized_and_asks_for_what_a_caller_has_to_give() -> None:
    model = old_resnet()
    after = optimize(model)

    assert (after.ir_version, [value.name for value in after.graph.input]) == (4, ["x"])
    assert op_counts(ir.from_proto(after)) == {"Conv": 1, "Gemm": 1, "GlobalAveragePool": 1, "Relu": 1, "Reshape": 1}
    given = {"x": DRAW.normal(size=(2, 3, 8, 8)).astype(np.float32)}
    np.testing.assert_allclose(outputs(after, given)["y"], outputs(model, given)["y"], rtol=1e-5, atol=1e-5)


def test_from_ir_version_4_on_an_initializer_that_is_an_input_stays_one() -> None:
    model = old_resnet()
    model.ir_version = 4

    assert [value.name for value in optimize(model).graph.input][:3] == ["x", "w", "scale"]


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("s = Shape (x) o = ConstantOfShape (s) y = Add (o, x)", "float[a,3] y"),
        ("n = Size (x) f = Cast <to = 1> (n) m = ReduceSum <keepdims = 0> (x) y = Div (m, f)", "float y"),
    ],
)
def test_a_size_of_minus_1_is_unknown(body: str, output: str) -> None:
    text = f'<ir_version: 10, opset_import: ["" : 13]> g (float[N,3] x) => ({output}) {{ {body} }}'
    model = make(text)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    given = {"x": np.linspace(-1, 2, 12, dtype=np.float32).reshape(4, 3)}
    expected = outputs(model, given)["y"]
    after = optimize(model)

    assert not after.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    np.testing.assert_allclose(outputs(after, given)["y"], expected, rtol=1e-6)


def test_a_function_of_a_lower_opset_gets_what_the_model_has() -> None:
    text = """<ir_version: 10, opset_import: ["" : 17, "own" : 1]> g (float[N,4] x) => (float[N,4] y) {
        y = own.Norm (x, w, b)
    }
    <domain: "own", opset_import: ["" : 16]> Norm (x, w, b) => (y) {
        e = Constant <value_float = 0.00001> () two = Constant <value_float = 2.0> ()
        m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) p = Pow (d, two) v = ReduceMean <axes = [-1]> (p)
        g = Add (v, e) s = Sqrt (g) n = Div (d, s) k = Mul (n, w) y = Add (k, b)
    }"""
    model = make(text, w=np.ones(4, np.float32), b=np.ones(4, np.float32))
    assert prepare(ir.from_proto(model)).functions["own", "Norm", ""].opset_imports[""] == 17
    assert "LayerNormalization" in op_counts(ir.from_proto(optimize(model)))
    assert worst_difference(model, optimize(model)) <= 1e-5
