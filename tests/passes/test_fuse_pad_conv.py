"""A Pad of zeros in front of a Conv becomes padding of the Conv."""

import numpy as np
import pytest
from fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from rule_cases import RuleCase

from pytest_modelcheck.passes.fuse_pad_conv import FusePadConv

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


def test_a_pad_before_a_pool_is_left_alone():
    text = TEXT.split("y = Conv")[0] % ("", "") + "y = MaxPool<kernel_shape = [2, 2]>(a) }"
    made = make(text.replace("[n, 3, p, q]", "[n, 2, p, q]"), pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    ignores(FusePadConv(), made)


CASES = (
    RuleCase(
        pass_=FusePadConv(),
        rule="fuse_pad_conv",
        fires=UNEVEN,
        counts={"Conv": 1},
        refused=padded([0, 0, 1, 1, 0, 0, 1, 1], mode='<mode = "reflect">'),
        reason="the Pad does not pad with a constant",
    ),
)
