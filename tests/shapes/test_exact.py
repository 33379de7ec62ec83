"""What numpy computes of a node is what onnxruntime computes; what it does not, it leaves to others."""

import subprocess
import sys

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from pytest_modelcheck.shapes import exact

DATA = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
WHOLE = np.array([[127, -128], [7, 0]], np.int8)
NODES = {
    "Add <> (a, b)": (WHOLE, WHOLE),  # wraps
    "Sub <> (a, b)": (WHOLE, np.int8(1)),
    "Mul <> (a, b)": (np.int32(2**30), np.int32(6)),
    "Sqrt <> (a)": (np.array([2, 0, -1, np.inf], np.float32),),
    "Equal <> (a, b)": (DATA, np.float32(3)),
    "Where <> (a, b, c)": (DATA > 0, DATA, np.float32(0)),
    "Cast <to = 1> (a)": (np.array([2**53 + 1, -1]),),
    "Cast <to = 9> (a)": (np.array([0, 3], np.int32),),
    "Cast <to = 6> (a)": (np.array([2**31, 5]),),
    "CastLike <> (a, b)": (np.array([16777217], np.int32), np.zeros(1, np.float32)),
    "Concat <axis = -1> (a, b)": (DATA, DATA[:, :0]),
    "ConstantOfShape <> (a)": (np.array([2, 0]),),
    "ConstantOfShape <value = int64[1] {7}> (a)": (np.array([], np.int64),),
    "Expand <> (a, b)": (DATA, np.array([2, 1, 3])),
    "Gather <axis = 1> (a, b)": (DATA, np.array([[-1], [0]])),
    "Gather <> (a, b)": (DATA, np.array(1)),
    "Identity <> (a)": (DATA,),
    "Cast <to = 7> (a)": (np.array([-(2.0**63), -0.0, 2.0**62], np.float32),),
    "Reshape <> (a, b)": (DATA, np.array([0, -1, 1])),
    "Reshape <allowzero = 1> (a, b)": (DATA[:0], np.array([3, 0])),
    "Slice <> (a, b, c)": (DATA, np.array([0, -2]), np.array([1, 2**62])),
    "Slice <> (a, b, c, d, e)": (DATA, np.array([9, 0]), np.array([-99, 3]), np.array([-1, 0]), np.array([-2, 1])),
    "Squeeze <> (a)": (DATA[:1, :1],),
    "Squeeze <> (a, b)": (DATA[:1], np.array([-2])),
    "Transpose <> (a)": (DATA,),
    "Transpose <perm = [1, 0, 2]> (a)": (DATA[None],),
    "Unsqueeze <> (a, b)": (DATA, np.array([-1, 0])),
}


def model_of(text: str, arrays: tuple[np.ndarray, ...]) -> onnx.ModelProto:
    graph = onnx.parser.parse_graph(f"g () => () {{ y = {text.replace('<>', '')} }}")
    graph.output.append(onnx.ValueInfoProto(name="y"))
    for name, array in zip("abcde", arrays, strict=False):
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def node_of(model: onnx.ModelProto) -> ir.Node:
    (node,) = ir.from_proto(model).graph
    return node


@pytest.mark.parametrize("text", NODES)
def test_numpy_computes_what_onnxruntime_does(text):
    model = model_of(text, NODES[text])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {})
    found = exact.by_numpy(node_of(model), [np.asarray(array) for array in NODES[text]])
    assert found is not None
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("text", "number", "whole"),
    [
        ("Cast <to = 6> (a)", 2.0**31 - 128, True),
        ("Cast <to = 6> (a)", 2.0**31, False),  # onnxruntime gives what the processor does
        ("Cast <to = 7> (a)", 1.5, False),
        ("Cast <to = 7> (a)", np.nan, False),
        ("Cast <to = 9> (a)", np.nan, True),
    ],
)
def test_numpy_makes_integers_of_floats_that_are_integers_alone(text, number, whole):
    arrays = (np.array([1, number], np.float32),)
    node = node_of(onnx.shape_inference.infer_shapes(model_of(text, arrays)))
    node.inputs[0].dtype = ir.DataType.FLOAT
    assert exact.is_exact(node, arrays) == whole


def test_each_function_has_a_case():
    assert {text.split()[0] for text in NODES} == set(exact._FUNCTIONS)


@pytest.mark.parametrize(
    ("text", "arrays"),
    [
        ("Add <axis = 0, broadcast = 1> (a, b)", (DATA, DATA[:, 0])),  # opset 6
        ("Reshape <> (a, b)", (DATA, np.array([4, -1]))),
        ("Gather <> (a, b)", (DATA, np.array(2))),
        ("Equal <> (a, b)", (np.array(["x"], object), np.array([b"x"], object))),
        ("Exp <> (a)", (DATA,)),
    ],
)
def test_other_forms_and_what_fails_are_left_to_others(text, arrays):
    node = node_of(model_of(text, tuple(np.zeros(1) if a.dtype == object else a for a in arrays)))
    assert exact.by_numpy(node, list(arrays)) is None


def test_folding_them_imports_neither_the_reference_nor_a_runtime():
    program = """
import sys
import onnx.parser
from pytest_modelcheck.pipeline import optimize
model = onnx.parser.parse_model('<ir_version: 10, opset_import: ["": 18]> g (float[n] x) => (float[n] y)'
    '<float[1] c = {4}> { r = Sqrt(c) y = Mul(x, r) }')
assert [node.op_type for node in optimize(model).graph.node] == ["Mul"]
print(*(name for name in ("onnx.reference", "onnxruntime", "pytest_modelcheck.runtimes") if name in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("\n", 0), ran.stderr
