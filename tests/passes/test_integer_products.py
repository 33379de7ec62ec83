"""Products of integers that become floats: one operator for onnxruntime, which its own quantizer writes as four."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.fuse_matmul_add import FuseMatmulAdd
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import fires, ignores, in_subgraph, make, refuses, worst_difference
from tests.passes.rule_cases import RuleCase
from tests.passes.test_quantized_graphs import dynamically

PASS = FuseMatmulAdd()
ALONE, SHARED = "com.microsoft:DynamicQuantizeMatMul", "com.microsoft:MatMulIntegerToFloat"
DRAW = np.random.default_rng(0)
WEIGHTS = {
    "w": DRAW.integers(-100, 100, (8, 6)).astype(np.int8),
    "u": DRAW.integers(0, 200, (8, 6)).astype(np.uint8),
    "b": np.int8(3),
    "bs": DRAW.integers(-3, 3, 6).astype(np.int8),
    "t": np.float32(0.02),
    "ts": np.linspace(0.01, 0.02, 6, dtype=np.float32),
    "c": DRAW.normal(size=6).astype(np.float32),
    "row": DRAW.normal(size=(1, 6)).astype(np.float32),
}
TAIL = "f = Cast <to = 1> (p) m = Mul (s, t) y = Mul (f, m)"
PRODUCT = f"q, s, z = DynamicQuantizeLinear (x) p = MatMulInteger (q, w, z, b) {TAIL}"
TWICE = (
    "q, s, z = DynamicQuantizeLinear (x) p = MatMulInteger (q, w, z, b) f = Cast <to = 1> (p) m = Mul (s, t) "
    "l = Mul (f, m) o = MatMulInteger (q, u, z) g = Cast <to = 1> (o) n = Mul (t2, s) r = Mul (n, g) y = Sub (l, r)"
)


def product(body: str, x: str = "float[N,3,8] x", outputs: str = "float[i,j,k] y") -> onnx.ModelProto:
    words = set(body.replace("(", " ").replace(")", " ").replace(",", " ").split())
    given = {name: array for name, array in {**WEIGHTS, "t2": np.float32(0.5)}.items() if name in words}
    return make(f'<ir_version: 8, opset_import: ["" : 17]> g ({x}) => ({outputs}) {{ {body} }}', **given)


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (PRODUCT, {ALONE: 1}),
        (PRODUCT.replace("(q, w, z, b)", "(q, u, z)"), {ALONE: 1}),
        (PRODUCT.replace("(s, t)", "(ts, s)").replace("z, b)", "z, bs)"), {ALONE: 1}),
        (PRODUCT.replace("y =", "v =") + " y = Add (c, v)", {ALONE: 1}),
        (PRODUCT.replace("y =", "v =") + " y = Add (v, row)", {ALONE: 1, "Add": 1}),
        (TWICE, {"DynamicQuantizeLinear": 1, SHARED: 2, "Sub": 1}),
    ],
)
def test_it_is_one_operator(body: str, left: dict[str, int]) -> None:
    assert fires(PASS, product(body), target="onnxruntime") == left
    assert fires(PASS, in_subgraph(product(body)), target="onnxruntime")["If"] == 1


def test_other_targets_have_none() -> None:
    ignores(PASS, product(PRODUCT))
    ignores(PASS, product(PRODUCT), target="opset23")


GIVEN = "p = MatMulInteger (q, w, z) " + TAIL


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            product(GIVEN, "uint8[N,3,8] q, float s, uint8 z"),
            "the product is not of what a DynamicQuantizeLinear gives, with its scale",
        ),
        (
            product(PRODUCT.replace("(q, w, z, b)", "(q, k, z)"), "float[N,3,8] x, uint8[8,6] k"),
            "the integers are not multiplied by a constant matrix",
        ),
        (
            product(PRODUCT.replace("(s, t)", "(s, row)")),
            "the scale is not constant, one number or one per column",
        ),
        (product(PRODUCT, outputs="float[i,j,k] y, float m"), "the Mul output is a graph output"),
    ],
)
def test_what_only_looks_like_one_stays(model: onnx.ModelProto, reason: str) -> None:
    assert refuses(PASS, model, target="onnxruntime") == {reason}


def test_a_file_of_onnxruntimes_quantizer(tmp_path: Path) -> None:
    model = make(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,8] x) => (float[i,j,k] y) '
        "{ a = MatMul (x, w) p = Add (a, c) q = Relu (p) l = MatMul (q, v) r = MatMul (q, u) y = Sub (l, r) }",
        w=DRAW.normal(size=(8, 8)).astype(np.float32),
        c=DRAW.normal(size=8).astype(np.float32),
        v=DRAW.normal(size=(8, 6)).astype(np.float32),
        u=DRAW.normal(size=(8, 6)).astype(np.float32),
    )
    quantized = dynamically(model, tmp_path)
    after = optimize(quantized, target="onnxruntime")

    ops = [node.op_type for node in after.graph.node]
    assert sorted(ops) == [
        "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulIntegerToFloat", "Relu", "Sub",
    ]  # fmt: skip
    assert worst_difference(quantized, after) <= 1e-6


CASES = (
    RuleCase(
        pass_=PASS,
        rule="integer product",
        fires=product(PRODUCT),
        counts={ALONE: 1},
        target="onnxruntime",
        refused=product(PRODUCT.replace("(s, t)", "(s, row)")),
        reason="the scale is not constant, one number or one per column",
    ),
)
