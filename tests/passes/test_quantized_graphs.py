"""What onnxruntime computes in integers because it finds Q/DQ pairs in the file, it still does after the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnxruntime.quantization import quantize_dynamic

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes import Target
from pytest_modelcheck.passes.fuse_conv_relu import FuseConvRelu
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import in_function, in_subgraph, make, refuses, worst_difference

DRAW = np.random.default_rng(0)
CONSTANTS: dict[str, Any] = {
    "s": np.float32(0.05),
    "mid": np.uint8(128),
    "low": np.uint8(0),
    "ws": np.float32(0.01),
    "vs": np.float32(0.02),
    "us": np.float32(0.03),
    "wz": np.int8(0),
    "kernel": DRAW.integers(-100, 100, (4, 3, 3, 3)).astype(np.int8),
    "matrix": DRAW.integers(-100, 100, (8, 6)).astype(np.int8),
    "heads": np.array([0, 0, 2, 3]),
    "bias": DRAW.normal(size=6).astype(np.float32),
}
CONV = """g (float[1,3,8,8] x) => (float[1,4,a,b] y) {
    q = QuantizeLinear (x, s, mid)
    d = DequantizeLinear (q, s, mid)
    w = DequantizeLinear (kernel, ws, wz)
    c = Conv (d, w)
    r = Relu (c)
    p = QuantizeLinear (r, s, low)
    y = DequantizeLinear (p, s, low)
}"""
HEADS = """g (float[N,S,8] x) => (float[N,S,2,3] i, float[N,S,2,3] j, float[N,S,2,3] k) {
    q = QuantizeLinear (x, s, mid)
    d = DequantizeLinear (q, s, mid)
    w = DequantizeLinear (matrix, ws, wz)
    v = DequantizeLinear (matrix, vs, wz)
    u = DequantizeLinear (matrix, us, wz)
    m = MatMul (d, w)
    a = Add (m, bias)
    i = Reshape (a, heads)
    n = MatMul (d, v)
    b = Add (bias, n)
    j = Reshape (b, heads)
    o = MatMul (d, u)
    c = Add (o, bias)
    e = Relu (c)
    k = Reshape (e, heads)
}"""
"""Three products of one tensor, each read as heads; with static sizes onnxruntime itself makes Gemms of them."""


def quantized(body: str) -> Any:
    used = {name: array for name, array in CONSTANTS.items() if f"{name})" in body or f"{name}," in body}
    return make('<ir_version: 10, opset_import: ["" : 17]> ' + body, **used)


def what_runs(model: onnx.ModelProto, folder: Path) -> set[str]:
    """The operators that onnxruntime makes of `model` at its default level."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "runs.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(folder / "runs.onnx", load_external_data=False).graph.node}


@pytest.mark.parametrize("target", ["portable", "opset23", "onnxruntime"])
@pytest.mark.parametrize(
    ("body", "operator"),
    [(CONV, "QLinearConv"), (HEADS, "MatMulIntegerToFloat")],
)
def test_it_is_computed_in_integers_as_before(body: str, operator: str, target: Target, tmp_path: Path) -> None:
    model = quantized(body)
    assert operator in what_runs(model, tmp_path)

    assert operator in what_runs(optimize(model, target=target), tmp_path)


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
def test_a_quantized_conv_keeps_its_activation_beside_it(place: Any) -> None:
    reason = "the Conv is quantized: onnxruntime makes one QLinearConv of it, with the activation"
    assert refuses(FuseConvRelu(), place(quantized(CONV)), target="onnxruntime") == {reason}


def dynamically(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """`model` with its weights quantized by onnxruntime, its activations as they come."""
    onnx.save(model, folder / "float.onnx")
    quantize_dynamic(folder / "float.onnx", folder / "quantized.onnx")
    return onnx.load(folder / "quantized.onnx")


def test_sizes_are_known_behind_a_product_of_integers(tmp_path: Path) -> None:
    model = make(
        """<ir_version: 8, opset_import: ["": 17]> g (float[batch, seq, 8] x) => (float[a, b, c, d] y) {
            p = MatMul (x, w) s = Shape (p) n = Gather (s, zero) u = Unsqueeze (n, axis)
            t = Concat <axis = 0> (u, rest) r = Reshape (p, t) y = Transpose <perm = [0, 2, 1, 3]> (r)
        }""",
        w=np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8),
        **{"zero": np.array(0), "axis": np.array([0]), "rest": np.array([-1, 2, 4])},
    )
    quantized = dynamically(model, tmp_path)
    after = optimize(quantized)

    assert op_counts(ir.from_proto(after)) == {
        "Cast": 1,
        "DynamicQuantizeLinear": 1,
        "MatMulInteger": 1,
        "Mul": 2,
        "Reshape": 1,
        "Transpose": 1,
    }
    assert worst_difference(quantized, after) == 0


def test_a_quantized_lstm_begins_with_zeros_and_has_one_direction(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    model = make(
        """<ir_version: 8, opset_import: ["": 17]> g (float[frames, batch, 3] x) => (float[a, b, c] y) {
            s = Shape (x) n = Gather (s, one) t = Concat <axis = 0> (one, n, hidden) h = ConstantOfShape (t)
            l = LSTM <hidden_size = 2> (x, w, r, , , h, h) m = Transpose <perm = [0, 2, 1, 3]> (l) y = Squeeze (m, two)
        }""",
        w=draw.normal(size=(1, 8, 3)).astype(np.float32),
        r=draw.normal(size=(1, 8, 2)).astype(np.float32),
        **{"one": np.array([1]), "two": np.array([2]), "hidden": np.array([2])},
    )
    quantized = dynamically(model, tmp_path)
    after = optimize(quantized)

    assert op_counts(ir.from_proto(after)) == {"Reshape": 1, "com.microsoft:DynamicQuantizeLSTM": 1}
    assert worst_difference(quantized, after) == 0
