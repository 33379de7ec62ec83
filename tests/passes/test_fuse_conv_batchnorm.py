from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes.fuse_conv_batchnorm import FuseConvBatchnorm
from pytest_modelcheck.pipeline import run_pass
from tests.passes import test_fuse_frozen_batchnorm, test_scaled_inputs
from tests.passes.fusing_checks import fires, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = FuseConvBatchnorm()
NORM = dict.fromkeys(("scale", "bias", "mean"), (0.3, 1.0)) | {"var": (0.5, 2.0)}


def weights(channels: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray[Any, Any]]:
    draw = np.random.default_rng(0)
    made = {name: draw.uniform(*bounds, channels).astype(np.float32) for name, bounds in NORM.items()}
    return made | {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def conv_norm(conv: str = "Conv (x, w)", *, channels: int = 4, w: tuple[int, ...] = (4, 3, 3, 3), **more: Any) -> Any:
    return make(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x) => (float[n,c,h,k] y) {{
          p = {conv}
          y = BatchNormalization (p, scale, bias, mean, var)
        }}""",
        **weights(channels, w=w, **more),
    )


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
@pytest.mark.parametrize(
    ("conv", "w", "more"),
    [
        ("Conv (x, w)", (4, 3, 3, 3), {}),
        ("Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w, b)", (4, 3, 3, 3), {"b": (4,)}),
        ("ConvTranspose (x, w, b)", (3, 4, 3, 3), {"b": (4,)}),
    ],
)
def test_a_norm_after_a_conv_is_folded_into_new_weights(place: Any, conv: str, w: Any, more: Any) -> None:
    counts = fires(PASS, place(conv_norm(conv, w=w, **more)))

    assert "BatchNormalization" not in counts


@pytest.mark.parametrize("conv", ["Conv <group = 3> (x, w)", "ConvTranspose <group = 3> (x, w)"])
def test_groups_keep_their_own_channels(conv: str) -> None:
    w = (6, 1, 3, 3) if conv.startswith("Conv ") else (3, 2, 3, 3)

    assert "BatchNormalization" not in fires(PASS, conv_norm(conv, channels=6, w=w))


def test_a_weight_that_two_convs_share_is_not_changed_in_place() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x) => (float[n,c,h,k] y, float[n,c,h,k] z) {
          p = Conv (x, w)
          y = BatchNormalization (p, scale, bias, mean, var)
          z = Conv (x, w)
        }""",
        **weights(4, w=(4, 3, 3, 3)),
    )

    assert fires(PASS, model) == {"Conv": 2}


def test_a_conv_that_something_else_reads_is_refused() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x) => (float[n,c,h,k] y, float[n,c,h,k] z) {
          p = Conv (x, w)
          y = BatchNormalization (p, scale, bias, mean, var)
          z = Relu (p)
        }""",
        **weights(4, w=(4, 3, 3, 3)),
    )

    assert refuses(PASS, model) == {"the Conv output is used 2 times"}


def test_a_conv_that_is_a_graph_output_is_refused() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x) => (float[n,c,h,k] y, float[n,c,h,k] p) {
          p = Conv (x, w)
          y = BatchNormalization (p, scale, bias, mean, var)
        }""",
        **weights(4, w=(4, 3, 3, 3)),
    )

    assert refuses(PASS, model) == {"the Conv output is a graph output"}


def test_a_norm_with_computed_parameters_is_refused() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x, float[4] given) => (float[n,c,h,k] y) {
          p = Conv (x, w)
          y = BatchNormalization (p, scale, bias, mean, given)
        }""",
        **weights(4, w=(4, 3, 3, 3)),
    )

    assert refuses(PASS, model) == {"the BatchNormalization parameters are not constants"}


def test_a_norm_in_training_mode_is_refused() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x) => (float[n,c,h,k] y) {
          p = Conv (x, w)
          y, m, v = BatchNormalization <training_mode = 1> (p, scale, bias, mean, var)
        }""",
        **weights(4, w=(4, 3, 3, 3)),
    )

    assert refuses(PASS, model) == {"the BatchNormalization is in training mode"}


@pytest.mark.parametrize(
    ("opset", "attributes", "reason"),
    [
        (8, "", None),
        (7, "<spatial = 1>", None),
        (8, "<spatial = 0>", "the BatchNormalization has parameters for every element, not for every channel"),
        (6, "<is_test = 1>", None),
        (6, "", "the BatchNormalization is in training mode"),
    ],
)
def test_a_norm_of_an_old_opset(opset: int, attributes: str, reason: str | None) -> None:
    text = f"""<ir_version: 3, opset_import: ["" : {opset}]> g (float[2,3,8,8] x) => (float[n,c,h,k] y) {{
        p = Conv (x, w) y = BatchNormalization {attributes} (p, scale, bias, mean, var)
    }}"""
    model = onnx.parser.parse_model(text)
    for name, array in weights(4, w=(4, 3, 3, 3)).items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, 1, array.shape))
    after, record = run_pass(ir.from_proto(model), PASS)

    assert [refused.reason for refused in record.refusals] == ([] if reason is None else [reason])
    assert ("BatchNormalization" in op_counts(after)) == (reason is not None)


def test_a_negative_variance_is_refused() -> None:
    model = conv_norm()
    for tensor in model.graph.initializer:
        if tensor.name == "var":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.full(4, -1, np.float32), "var"))

    assert refuses(PASS, model) == {"variance + epsilon is not positive everywhere"}


def matrix_norm(product: str, x: str, **more: Any) -> onnx.ModelProto:
    return make(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g ({x} x) => (float[n,c] y) {{
          p = {product}
          y = BatchNormalization (p, scale, bias, mean, var)
        }}""",
        **weights(4, **more),
    )


@pytest.mark.parametrize(
    ("product", "more"),
    [
        ("Gemm (x, w)", {"w": (5, 4)}),
        ("Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)", {"w": (4, 5), "b": (4,)}),
        ("MatMul (x, w)", {"w": (5, 4)}),
    ],
)
def test_a_norm_after_a_matrix_product_becomes_one_gemm(product: str, more: Any) -> None:
    assert fires(PASS, matrix_norm(product, "float[N,5]", **more)) == {"Gemm": 1}


def test_a_norm_over_the_rows_of_a_batched_product_is_refused() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,4,5] x) => (float[n,c,k] y) {
          p = MatMul (x, w)
          y = BatchNormalization (p, scale, bias, mean, var)
        }""",
        **weights(4, w=(5, 4)),
    )

    assert refuses(PASS, model) == {"the MatMul is not proven to multiply matrices"}


def norm_conv(conv: str, *, groups: int = 1, **more: Any) -> onnx.ModelProto:
    return make(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,4,8,8] x) => (float[n,c,h,k] y) {{
          p = BatchNormalization (x, scale, bias, mean, var)
          y = {conv}
        }}""",
        **weights(4, w=(6, 4 // groups, 3, 3), **more),
    )


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
def test_a_norm_before_an_unpadded_conv_is_folded(place: Any) -> None:
    assert "BatchNormalization" not in fires(PASS, place(norm_conv("Conv (p, w, b)", b=(6,))))


def test_a_norm_before_a_grouped_conv_is_folded_by_input_channel() -> None:
    assert fires(PASS, norm_conv("Conv <group = 2> (p, w)", groups=2)) == {"Conv": 1}


@pytest.mark.parametrize("padding", ["pads = [1, 1, 1, 1]", 'auto_pad = "SAME_UPPER"'])
def test_a_norm_before_a_padded_conv_is_refused(padding: str) -> None:
    reason = "the Conv pads with zeros, which the BatchNormalization would have shifted"

    assert refuses(PASS, norm_conv(f"Conv <{padding}> (p, w)")) == {reason}


def given_weight(product: str, shape: str) -> onnx.ModelProto:
    """A product whose weight is an input."""
    return make(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g (float[2,3,8,8] x, float[{shape}] w) => (float[n,c,h,k] y) {{
          p = {product}
          y = BatchNormalization (p, scale, bias, mean, var)
        }}""",
        **weights(4),
    )


def given_bias(product: str, x: str, bias: str) -> onnx.ModelProto:
    """A product whose bias is an input."""
    return make(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g ({x} x, float[4] {bias}) => (float[n,c] y) {{
          p = {product}
          y = BatchNormalization (p, scale, bias, mean, var)
        }}""",
        **weights(4, w=(5, 4)),
    )


CASES = (
    RuleCase(
        pass_=PASS,
        rule="after a convolution",
        fires=conv_norm(),
        counts={"Conv": 1},
        refused=given_weight("Conv (x, w)", "4,3,3,3"),
        reason="the Conv weight is not a constant",
    ),
    RuleCase(
        pass_=PASS,
        rule="after a convolution",
        variant="transposed",
        fires=conv_norm("ConvTranspose <group = 3> (x, w)", channels=6, w=(3, 2, 3, 3)),
        counts={"ConvTranspose": 1},
        refused=given_weight("ConvTranspose (x, w)", "3,4,3,3"),
        reason="the ConvTranspose weight is not a constant",
    ),
    RuleCase(
        pass_=PASS,
        rule="after Gemm",
        fires=matrix_norm("Gemm <transB = 1, beta = 2.0> (x, w, b)", "float[N,5]", w=(4, 5), b=(4,)),
        counts={"Gemm": 1},
        refused=given_bias("Gemm (x, w, given)", "float[N,5]", "given"),
        reason="the Gemm bias is not a constant",
    ),
    RuleCase(
        pass_=PASS,
        rule="after MatMul",
        fires=matrix_norm("MatMul (x, w)", "float[N,5]", w=(5, 4)),
        counts={"Gemm": 1},
        refused=make(
            """<ir_version: 10, opset_import: ["" : 17]>
            g (float[2,4,5] x) => (float[n,c,k] y) {
              p = MatMul (x, w)
              y = BatchNormalization (p, scale, bias, mean, var)
            }""",
            **weights(4, w=(5, 4)),
        ),
        reason="the MatMul is not proven to multiply matrices",
    ),
    RuleCase(
        pass_=PASS,
        rule="before Conv",
        fires=norm_conv("Conv (p, w, b)", b=(6,)),
        counts={"Conv": 1},
        refused=norm_conv("Conv <pads = [1, 1, 1, 1]> (p, w)"),
        reason="the Conv pads with zeros, which the BatchNormalization would have shifted",
    ),
    *test_fuse_frozen_batchnorm.CASES,
    *test_scaled_inputs.CASES,
)
