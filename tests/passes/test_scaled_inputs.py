"""What is done to each channel by itself before and behind a convolution goes into its weights."""

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.fuse_conv_batchnorm import FuseConvBatchnorm
from pytest_modelcheck.pipeline import PassStatus, run_pass
from tests.passes.fusing_checks import fires, ignores, in_function, make, refuses
from tests.passes.rule_cases import RuleCase

KERNEL = np.linspace(-1, 1, 4 * 3 * 2 * 2, dtype=np.float32).reshape(4, 3, 2, 2)
GROUPED = np.linspace(-1, 1, 6 * 2 * 2, dtype=np.float32).reshape(6, 1, 2, 2)
EACH = np.array([0.5, 2, -1], np.float32).reshape(1, 3, 1, 1)
ONE = np.array(3, np.float32)


def model(lines, *, x="float[n, 3, h, w]", **weights):
    text = f'<ir_version: 8, opset_import: ["": 17]> agraph ({x} x) => (float[n, c, p, q] y) {{ {lines} }}'
    used = {"k": KERNEL, "each": EACH, "one": ONE, **weights}
    return make(text, **{name: array for name, array in used.items() if name in text.replace("(x", "(")})


@pytest.mark.parametrize(
    "lines",
    [
        "a = Mul(x, each) y = Conv<pads = [1, 1, 1, 1]>(a, k)",  # a padded zero stays zero
        "a = Mul(one, x) y = Conv(a, k)",
        "a = Div(x, each) y = Conv(a, k)",
        "a = Add(each, x) y = Conv(a, k)",
        "a = Sub(x, each) y = Conv(a, k)",
        "a = Sub(one, x) y = Conv(a, k)",
        "s = Sub(x, each) a = Div(s, each) y = Conv(a, k)",
        "a = Neg(x) y = Conv(a, k)",
        "a = Mul(x, each) y = Conv<group = 3>(a, grouped)",
        "a = Conv(x, k) y = Div(a, one)",
        "a = Conv(x, k) y = Sub(a, one)",
        "a = Conv(x, k) y = Sub(one, a)",
        "a = Conv(x, k) y = Neg(a)",
    ],
)
def test_it_goes_into_the_conv(lines):
    made = model(lines, **({"grouped": GROUPED} if "grouped" in lines else {}))
    assert fires(FuseConvBatchnorm(), made, size=5) == {"Conv": 1}
    assert fires(FuseConvBatchnorm(), in_function(made), size=5) == {"Conv": 1, "test.local:Body": 1}


@pytest.mark.parametrize(
    ("lines", "options", "reason"),
    [
        (
            "a = Add(x, each) y = Conv<pads = [0, 0, 1, 1]>(a, k)",
            {},
            "the Conv pads with zeros, which the Add would have shifted",
        ),
        ("a = Div(x, each) y = Conv(a, k)", {"each": EACH * np.float32(0)}, "the Div divides by zero"),
        (
            "a = Mul(x, each) y = Conv(a, k)",
            {"x": "float[n, 1, h, w]"},
            "the constant of the Mul may widen the channels",
        ),
        (
            "a = Mul(x, each) y = Conv(a, k)",
            {"x": "float[n, d, h, w]"},
            "the constant of the Mul may widen the channels",
        ),
        ("a = Mul(x, each) y = Conv(a, k)", {"x": "float[3, h, w]"}, "the constant of the Mul adds an axis"),
        (
            "a = Mul(x, each) y = Conv(a, k)",
            {"each": np.ones((1, 1, 1, 5), np.float32), "x": "float[n, 3, h, 5]"},
            "the constant of the Mul is not one number per channel",
        ),
        ("a = Mul(x, each) b = Conv(a, k) c = Relu(a) y = Concat<axis = 1>(b, c)", {"k": KERNEL[:, :, :1, :1]}, ""),
    ],
)
def test_it_stays_where_the_conv_would_give_something_else(lines, options, reason):
    found = refuses(FuseConvBatchnorm(), model(lines, **options))
    assert found == {reason or "the Mul output is used 2 times"}


@pytest.mark.parametrize("lines", ["d = Div(c, one)", "d = Sub(c, one)", "d = Sub(one, c)", "d = Neg(c)"])
def test_what_a_formula_does_to_a_conv_that_it_reads_twice_is_not_spoken_of(lines):
    ignores(FuseConvBatchnorm(), model(f"c = Conv(x, k) {lines} y = Mul(c, d)"))


def test_weights_of_float16_are_not_made_too_small_for_it():
    text = '<ir_version: 8, opset_import: ["": 17]> agraph (float16[n, 3, h, w] x) => (float16[n, c, p, q] y) {'
    made = make(
        text + " a = Div(x, pixel) y = Conv(a, k) }",
        pixel=np.array(255, np.float16),
        k=(KERNEL / 100).astype(np.float16),
    )
    assert refuses(FuseConvBatchnorm(), made) == {"the folded weights are too small for float16"}
    made = make(text + " a = Div(x, two) y = Conv(a, k) }", two=np.array(2, np.float16), k=KERNEL.astype(np.float16))
    assert run_pass(ir.from_proto(made), FuseConvBatchnorm())[1].status is PassStatus.FIRED


@pytest.mark.parametrize("function", ["Erf", "Tanh"])
def test_the_last_factor_of_a_gelu_stays_with_it(function):
    lines = f"s = Div(x, one) e = {function}(s) p = Add(e, one) g = Mul(x, p) a = Mul(g, half) y = Conv(a, k)"
    ignores(FuseConvBatchnorm(), model(lines, half=np.array(0.5, np.float32)))


CASES = (
    RuleCase(
        pass_=FuseConvBatchnorm(),
        rule="scaled input",
        fires=model("a = Mul(x, each) y = Conv<pads = [1, 1, 1, 1]>(a, k)"),
        counts={"Conv": 1},
        refused=model("a = Add(x, each) y = Conv<pads = [1, 1, 1, 1]>(a, k)"),
        reason="the Conv pads with zeros, which the Add would have shifted",
        size=5,
    ),
)
