"""A Pad in front of a Conv or a MaxPool becomes padding of it."""

import numpy as np
import pytest

from pytest_modelcheck.passes.fuse_pad_conv import FusePadConv
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

TEXT = """<ir_version: 8, opset_import: ["": 18]>
agraph (float[n, 2, 6, 5] x) => (float[n, 3, p, q] y) {
    a = Pad%s(x, pads%s)
    y = Conv<strides = [2, 2], pads = [1, 0, 0, 0]%s>(a, w)
}"""
WEIGHT = np.linspace(-1, 1, 3 * 2 * 3 * 3, dtype=np.float32).reshape(3, 2, 3, 3)


def padded(pads, mode="", fill="", conv="", **weights):
    return make(TEXT % (mode, fill, conv), pads=np.array(pads), w=WEIGHT, **weights)


UNEVEN = padded([0, 0, 0, 1, 0, 0, 1, 2])


def test_uneven_padding_of_spatial_axes_moves_into_the_conv():
    assert fires(FusePadConv(), UNEVEN) == {"Conv": 1}


def test_padding_of_named_axes_with_an_explicit_zero_moves_into_the_conv():
    made = padded([1, 2, 0, 1], fill=", zero, axes", zero=np.array(0, np.float32), axes=np.array([-1, 2]))
    assert fires(FusePadConv(), made) == {"Conv": 1}


def test_inside_a_branch_the_padding_moves_too():
    assert fires(FusePadConv(), in_subgraph(UNEVEN))["Conv"] == 2


def test_inside_a_function_the_padding_moves_too():
    assert fires(FusePadConv(), in_function(UNEVEN)) == {"Conv": 1, "test.local:Body": 1}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (padded([0, 0, 1, 1, 0, 0, 1, 1], mode='<mode = "reflect">'), "the Pad does not pad with a constant"),
        (
            padded([0, 0, 1, 1, 0, 0, 1, 1], fill=", one", one=np.array(1, np.float32)),
            "the Pad writes something else than zeros",
        ),
        (padded([1, 0, 1, 1, 0, 0, 1, 1]), "the batch or the channels are padded"),
        (padded([0, 0, 1, 1, 0, 0, -1, 1]), "the Pad cuts"),
    ],
)
def test_another_kind_of_padding_is_refused(made, reason):
    assert refuses(FusePadConv(), made) == {reason}


def test_a_conv_that_does_not_pad_takes_the_padding():
    text = (TEXT % ("", "", "")).replace("pads = [1, 0, 0, 0]", 'auto_pad = "VALID"')
    assert fires(FusePadConv(), make(text, pads=np.array([0, 0, 0, 1, 0, 0, 1, 2]), w=WEIGHT)) == {"Conv": 1}


def test_a_conv_that_computes_its_own_padding_is_refused():
    text = (TEXT % ("", "", "")).replace("pads = [1, 0, 0, 0]", 'auto_pad = "SAME_UPPER"')
    made = make(text, pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]), w=WEIGHT)
    assert refuses(FusePadConv(), made) == {"the Conv computes its padding from the size of its input"}


def test_a_padded_tensor_that_something_else_reads_is_refused():
    text = (TEXT % ("", "", "")).replace("y = Conv", "z = Conv").replace("}", "s = ReduceSum(a) y = Add(z, s) }")
    made = make(text, pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]), w=WEIGHT)
    assert refuses(FusePadConv(), made) == {"the padded tensor is read by something else too"}


POOL = """<ir_version: 8, opset_import: ["": 18]>
agraph (float[n, 2, 6, 5] x) => (float[m, 2, p, q] y) {
    a = Pad(x, pads, fill)
    y = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 0, 0, 0]%s>(a)
}"""
LOWEST = np.array(-np.inf, np.float32)


def pooled(pads=(0, 0, 0, 1, 0, 0, 1, 2), fill=LOWEST, pool=""):
    return make(POOL % pool, pads=np.array(pads), fill=fill)


def test_padding_that_no_maximum_takes_moves_into_the_pool():
    assert fires(FusePadConv(), pooled()) == {"MaxPool": 1}


def test_the_same_in_a_branch_and_in_a_function():
    assert fires(FusePadConv(), in_subgraph(pooled()))["MaxPool"] == 2
    assert fires(FusePadConv(), in_function(pooled())) == {"MaxPool": 1, "test.local:Body": 1}


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (pooled(fill=np.array(0, np.float32)), "the Pad writes something else than -infinity"),
        (pooled(fill=np.finfo(np.float32).min), "the Pad writes something else than -infinity"),
        (pooled(pool=", ceil_mode = 1"), "the MaxPool rounds sizes up: a window may begin in the padding"),
        (pooled(pool=", dilations = [1, 2]"), "the MaxPool is dilated: a window may hold padding only"),
        (pooled([0, 0, 2, 0, 0, 0, 0, 0]), "the padding is as large as the kernel: a window may hold padding only"),
        (pooled([0, 0, 0, 0, 0, 0, 0, 3]), "the padding is as large as the kernel: a window may hold padding only"),
        (pooled([1, 0, 0, 0, 0, 0, 0, 0]), "the batch or the channels are padded"),
    ],
)
def test_padding_that_could_change_a_maximum_is_refused(made, reason):
    assert refuses(FusePadConv(), made) == {reason}


def test_just_less_padding_than_the_kernel_moves():
    assert fires(FusePadConv(), pooled([0, 0, 1, 2, 0, 0, 2, 2])) == {"MaxPool": 1}


def test_a_pool_that_gives_indices_is_refused():
    text = (POOL % "").replace("    y = ", "    y, i = ").replace("y) {", "y, int64[m, 2, p, q] i) {")
    made = make(text, pads=np.array([0, 0, 0, 1, 0, 0, 1, 2]), fill=LOWEST)
    assert refuses(FusePadConv(), made) == {"the indices of the maxima count the padded elements"}


def test_an_average_over_padding_is_left_alone():
    text = (POOL % "").replace("MaxPool", "AveragePool")
    ignores(FusePadConv(), make(text, pads=np.array([0, 0, 0, 1, 0, 0, 1, 2]), fill=np.array(0, np.float32)))


CASES = (
    RuleCase(
        pass_=FusePadConv(),
        rule="conv",
        fires=UNEVEN,
        counts={"Conv": 1},
        refused=padded([0, 0, 1, 1, 0, 0, 1, 1], mode='<mode = "reflect">'),
        reason="the Pad does not pad with a constant",
    ),
    RuleCase(
        pass_=FusePadConv(),
        rule="pool",
        fires=pooled(),
        counts={"MaxPool": 1},
        refused=pooled(pool=", ceil_mode = 1"),
        reason="the MaxPool rounds sizes up: a window may begin in the padding",
    ),
)
