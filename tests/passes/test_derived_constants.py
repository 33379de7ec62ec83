"""Constants made of others: once for all copies of a model, and kept by nobody."""

from __future__ import annotations

import gc

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.attention import derived
from pytest_modelcheck.passes.attention.derived import computed_once
from pytest_modelcheck.rewriting.matching import weight_content, weight_shape


def constant(array: np.ndarray) -> ir.Value:
    return ir.Value(name="w", const_value=ir.tensor(array))


def doubled(value: ir.Value, calls: list[ir.Value]) -> np.ndarray:
    calls.append(value)
    return 2 * weight_content(value)


def test_copies_that_share_a_tensor_share_what_is_made_of_it():
    weight = constant(np.arange(6.0).reshape(2, 3))
    copy = ir.Value(name="other", const_value=weight.const_value)
    calls = []
    first = computed_once(("doubled", weight), lambda: doubled(weight, calls))
    second = computed_once(("doubled", copy), lambda: doubled(copy, calls))
    assert second is first
    assert len(calls) == 1


@pytest.mark.parametrize("key", [("other", 2), ("doubled", 3)])
def test_something_else_made_of_the_same_tensor_is_made(key):
    weight = constant(np.arange(6.0))
    first = computed_once(("doubled", 2, weight), lambda: doubled(weight, []))
    assert computed_once((*key, weight), lambda: doubled(weight, [])) is not first


def test_an_equal_tensor_is_not_the_same():
    left, right = constant(np.ones(6)), constant(np.ones(6))
    first = computed_once(("doubled", left), lambda: doubled(left, []))
    assert computed_once(("doubled", right), lambda: doubled(right, [])) is not first


def test_the_transpose_of_a_tensor_is_not_the_tensor():
    weight = constant(np.arange(4.0).reshape(2, 2))
    turned = ir.node("Transpose", [weight], {"perm": [1, 0]}).outputs[0]
    plain = computed_once(("doubled", weight), lambda: doubled(weight, []))
    np.testing.assert_array_equal(computed_once(("doubled", turned), lambda: doubled(turned, [])), plain.T)


def test_nothing_is_kept_that_no_graph_holds():
    weight = constant(np.arange(6.0))
    before = len(derived._made)
    made = computed_once(("doubled", weight), lambda: doubled(weight, []))
    assert len(derived._made) == before + 1
    del made
    gc.collect()
    assert len(derived._made) == before


@pytest.mark.parametrize("attributes", [{}, {"perm": [1, 0]}, {"perm": [0, 1]}])
def test_the_shape_of_a_weight_is_known_without_reading_it(attributes):
    weight = constant(np.zeros((2, 3)))
    turned = ir.node("Transpose", [weight], attributes).outputs[0]
    for value in (weight, turned):
        assert weight_shape(value) == weight_content(value).shape
    assert weight_shape(ir.Value(name="x")) is None
