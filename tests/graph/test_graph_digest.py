"""`graph_digest`: equal for the same nodes, whatever they are called and whatever the weights hold."""

import re

import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.wiring import graph_digest

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,2] x, float[2,2] z) => (float[1,4] y)
<float[2,2] w = {1, 2, 3, 4}, float half = {0.5}, int64[2] shape = {1, 4}> {
    a = MatMul (x, w)
    b = Relu (z)
    c = Sub (a, b)
    d = Mul (c, half)
    y = Reshape (d, shape)
}
"""


def digest(text):
    return graph_digest(ir.from_onnx_text(text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{1, 2, 3, 4}", "{5, 6, 7, 8}"),
        ("w", "weight"),
        ("c", "inner"),
        ("a = MatMul (x, w)\n    b = Relu (z)", "b = Relu (z)\n    a = MatMul (x, w)"),
    ],
)
def test_names_order_and_the_values_of_weights_do_not_count(old, new):
    assert digest(re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", new, TEXT)) == digest(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Sub (a, b)", "Sub (b, a)"),
        ("Relu", "Tanh"),
        ("{0.5}", "{0.25}"),
        ("{1, 4}", "{4, 1}"),
        ("float[2,2] w = {1, 2, 3, 4}", "float[2,1] w = {1, 2}"),
        ("y", "logits"),
    ],
)
def test_wiring_constants_shapes_and_the_names_of_outputs_count(old, new):
    assert digest(TEXT.replace(old, new)) != digest(TEXT)


def test_texts_count():
    def labelled(*texts):
        model = ir.from_onnx_text(TEXT)
        text = ir.StringTensor([word.encode() for word in texts], shape=ir.Shape([2]))
        constant = ir.node("Constant", [], attributes={"value": text})
        model.graph.append(constant)
        model.graph.outputs.append(constant.outputs[0])
        return graph_digest(model)

    assert labelled("ab", "c") == labelled("ab", "c") != labelled("a", "bc")
