"""A BatchNormalization that was frozen into a Mul and an Add per channel."""

import numpy as np
import pytest

from pytest_modelcheck.passes.fuse_conv_batchnorm import FuseConvBatchnorm
from tests.passes.fusing_checks import fires, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

FROZEN = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[n, 2, h, w] x) => (float[n, 3, p, q] y) {
    c = %s(x, k)
    m = Mul(factor, c)
    a = Add(m, shift)
    y = Relu(a)
}"""
KERNEL = np.linspace(-1, 1, 3 * 2 * 3 * 3, dtype=np.float32)
CHANNELS = {
    "factor": np.array([0.5, 2, -1], np.float32).reshape(1, 3, 1, 1),
    "shift": np.array([1, 0, -3], np.float32).reshape(3, 1, 1),
}


def frozen(**weights):
    return make(FROZEN % "Conv", **{"k": KERNEL.reshape(3, 2, 3, 3), **CHANNELS, **weights})


def test_one_factor_and_one_shift_per_channel_go_into_the_conv():
    assert fires(FuseConvBatchnorm(), frozen(), size=5) == {"Conv": 1, "Relu": 1}


def test_they_go_into_a_transposed_convolution():
    made = make(FROZEN % "ConvTranspose", k=KERNEL.reshape(2, 3, 3, 3), **CHANNELS)
    assert fires(FuseConvBatchnorm(), made, size=5) == {"ConvTranspose": 1, "Relu": 1}


def test_one_number_for_all_channels_goes_into_the_conv():
    made = frozen(factor=np.array(0.25, np.float32), shift=np.array([[3]], np.float32))
    assert fires(FuseConvBatchnorm(), made, size=5) == {"Conv": 1, "Relu": 1}


def test_a_batch_normalization_behind_them_is_folded_in_the_same_run():
    text = (FROZEN % "Conv").replace("y = Relu(a)", "b = BatchNormalization(a, scale, mean, mean, scale) y = Relu(b)")
    norm = {"scale": np.array([1, 2, 3], np.float32), "mean": np.array([0.5, 0, -0.5], np.float32)}
    made = make(text, k=KERNEL.reshape(3, 2, 3, 3), **CHANNELS, **norm)
    assert fires(FuseConvBatchnorm(), made, size=5) == {"Conv": 1, "Relu": 1}


def test_inside_a_branch_and_inside_a_function_too():
    assert fires(FuseConvBatchnorm(), in_subgraph(frozen()), size=5) == {"Conv": 2, "If": 1, "Relu": 2}
    assert fires(FuseConvBatchnorm(), in_function(frozen()), size=5)["Conv"] == 1


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (np.ones((1, 1, 1, 3), np.float32), "the constant of the Mul is not one number per channel"),
        (np.ones((3,), np.float32), "the constant of the Mul is not one number per channel"),
        (np.ones((1, 1, 1, 1, 1), np.float32), "the constant of the Mul adds an axis"),
    ],
)
def test_a_constant_that_is_not_per_channel_is_refused(factor, reason):
    text = (
        (FROZEN % "Conv")
        .replace("float[n, 3, p, q] y", "float[n, 3, p, 3] y")
        .replace("float[n, 2, h, w]", "float[n, 2, 5, 5]")
    )
    if factor.ndim == 5:
        text = text.replace("float[n, 3, p, 3] y", "float[1, n, 3, 3, 3] y")
    made = make(text, k=KERNEL.reshape(3, 2, 3, 3), **{**CHANNELS, "factor": factor})
    assert refuses(FuseConvBatchnorm(), made) == {reason}


def test_a_conv_that_something_else_reads_is_refused():
    text = (FROZEN % "Conv").replace("y = Relu(a)", "r = Neg(c) y = Add(a, r)")
    made = make(text, k=KERNEL.reshape(3, 2, 3, 3), **CHANNELS)
    assert refuses(FuseConvBatchnorm(), made) == {"the Conv output is used 2 times"}


def across_columns():
    """A Mul of one number per column, where there are as many as channels."""
    text = (FROZEN % "Conv").replace("[n, 3, p, q] y", "[n, 3, p, 3] y").replace("[n, 2, h, w]", "[n, 2, 5, 5]")
    return make(text, k=KERNEL.reshape(3, 2, 3, 3), **{**CHANNELS, "factor": np.ones(3, np.float32)})


CASES = (
    RuleCase(
        pass_=FuseConvBatchnorm(),
        rule="frozen",
        fires=frozen(),
        counts={"Conv": 1, "Relu": 1},
        refused=across_columns(),
        reason="the constant of the Mul is not one number per channel",
        size=5,
    ),
)
