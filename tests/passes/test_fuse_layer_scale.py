"""A constant per column behind a projection goes into its weights: LayerScale of ConvNeXt, DINOv2, CaiT, BEiT."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes.fuse_conv_batchnorm import FuseConvBatchnorm
from pytest_modelcheck.pipeline import optimize, run_pass
from tests.passes.fusing_checks import fires, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseConvBatchnorm()
DRAW = np.random.default_rng(0)
WEIGHTS = {
    name: DRAW.normal(size=shape).astype(np.float32) for name, shape in {"w": (4, 6), "b": (6,), "f": (6,)}.items()
}
BIASED = "p = MatMul (x, w) a = Add (p, b) y = Mul (a, f)"
RAISED = "p = MatMul (x, w) a = Mul (p, f) y = Squeeze (a, z)"
TWICE = "p = MatMul (x, w) q = Mul (p, f) r = MatMul (x, w) y = Add (q, r)"


def model(body: str, dtype: str = "float", shape: str = "N,3,4", **weights: np.ndarray) -> onnx.ModelProto:
    used = {
        name: array
        for name, array in {**WEIGHTS, **weights}.items()
        if name in body.replace(")", " ").replace("(", " ").replace(",", " ").split()
    }
    text = (
        f'<ir_version: 10, opset_import: ["" : 17]> g ({dtype}[{shape}] x) => ({dtype}[{shape[:-1]}6] y) {{ {body} }}'
    )
    return make(text, **used)


@pytest.mark.parametrize(
    ("body", "factor", "counts"),
    [
        (BIASED, (6,), {"MatMul": 1, "Add": 1}),
        ("p = MatMul (x, w) a = Add (b, p) y = Mul (f, a)", (1, 6), {"MatMul": 1, "Add": 1}),
        ("p = MatMul (x, w) y = Mul (p, f)", (1, 1, 6), {"MatMul": 1}),
    ],
)
def test_the_factor_goes_into_weight_and_bias(body: str, factor: tuple[int, ...], counts: dict[str, int]) -> None:
    assert fires(PASS, model(body, f=DRAW.normal(size=factor).astype(np.float32))) == counts


def test_a_bias_of_one_number_becomes_one_per_column() -> None:
    assert fires(PASS, model(BIASED, b=np.ones(1, np.float32))) == {"MatMul": 1, "Add": 1}


HALF = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (model(BIASED, f=np.ones((3, 1), np.float32)), "the constant of the Mul is not one number per column"),
        (model(BIASED, b=np.ones((3, 6), np.float32)), "the bias is not one number per column"),
        (model(BIASED, "float16", **HALF), "the element type is not float or double"),
        (model(TWICE), "the weight is read by something else, too"),
        (
            model(RAISED, shape="3,4", f=np.ones((1, 1, 6), np.float32), z=np.array([0])),
            "the constants may add an axis",
        ),
        (model("p = MatMul (x, w) a = Mul (p, f) y = Add (p, a)"), "the MatMul output is used 2 times"),
    ],
)
def test_look_alikes_stay(made: onnx.ModelProto, reason: str) -> None:
    assert reason in refuses(PASS, made)


@pytest.mark.parametrize(
    "made",
    [
        model("p = MatMul (x, w) e = ReduceMax <axes = [2], keepdims = 1> (x) y = Mul (p, e)"),
        model(BIASED, f=np.full(1, 2, np.float32)),
    ],
)
def test_a_factor_that_is_computed_or_one_number_stays(made: onnx.ModelProto) -> None:
    after, record = run_pass(ir.from_proto(made), PASS)

    assert op_counts(after)["Mul"] == 1
    assert not record.refusals


def test_the_factor_itself_goes() -> None:
    after = optimize(model(BIASED))

    assert sorted(tuple(tensor.dims) for tensor in after.graph.initializer) == [(4, 6), (6,)]


def weights_of_its_own(placed: onnx.ModelProto) -> onnx.ModelProto:
    """The else-branch of an If with other weights: those that two branches share stay."""
    for attribute in placed.graph.node[0].attribute:
        if attribute.name == "else_branch":
            for node in attribute.g.node:
                node.input[:] = ["w2" if name == "w" else name for name in node.input]
            placed.graph.initializer.append(onnx.numpy_helper.from_array(WEIGHTS["w"] + 1, "w2"))
    return placed


CASES = (
    RuleCase(
        pass_=PASS,
        rule="scale",
        fires=model(BIASED),
        refused=model(TWICE),
        reason="the weight is read by something else, too",
        counts={"MatMul": 1, "Add": 1},
        nested=weights_of_its_own,
    ),
)
