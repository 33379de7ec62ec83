"""Two runs are equal only where every output is."""

from __future__ import annotations

import math

import pytest
import torch

from pytest_modelcheck.capture import compare_outputs

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("expected", "found", "difference", "agrees"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0, True),
        ([0.0], [0.9e-5], 0.9e-5, True),
        ([0.0], [1.1e-5], 1.1e-5, False),
        ([100.0], [100.0009], 0.9e-5, True),
        ([100.0], [100.0011], 1.1e-5, False),
        ([NAN, 1.0], [NAN, 1.0], 0.0, True),
        ([NAN], [1.0], INF, False),
        ([1.0], [NAN], INF, False),
        ([INF], [INF], 0.0, True),
        ([INF], [-INF], INF, False),
        ([INF, 1.0], [INF, 1.1], 0.1, False),
    ],
)
def test_a_difference_is_relative_to_the_largest_value_and_to_one(expected, found, difference, agrees):
    compared = compare_outputs((torch.tensor(expected).double(),), (torch.tensor(found).double(),))
    assert compared.difference == pytest.approx(difference, rel=1e-2)
    assert compared.agrees is agrees


@pytest.mark.parametrize("found", [(), (torch.zeros(2, 1),), (torch.zeros(2, dtype=torch.int64),)])
def test_a_missing_output_and_another_shape_or_dtype_never_agree(found):
    assert compare_outputs((torch.zeros(2),), found).difference == INF


def test_the_worst_output_counts():
    a, b = torch.zeros(2), torch.ones(2)
    assert compare_outputs((a, a), (a, b)).difference == 1.0
    assert compare_outputs((b, a), (a, a)).difference == 1.0


def test_half_precision_may_differ_by_ten_units_of_the_last_place():
    one = torch.ones(1, dtype=torch.float16)
    eps = torch.finfo(torch.float16).eps
    assert compare_outputs((one,), (one + 10 * eps,)).agrees
    assert not compare_outputs((one,), (one + 11 * eps,)).agrees


def test_tensors_without_values_are_not_compared_and_do_not_agree():
    meta = torch.empty(2, device="meta")
    compared = compare_outputs((meta,), (meta,))
    assert compared.difference is None
    assert not compared.agrees


def test_complex_and_empty_outputs_are_compared():
    turned = torch.tensor([1j])
    assert compare_outputs((turned,), (-turned,)).difference == 2.0
    assert compare_outputs((torch.empty(0),), (torch.empty(0),)).difference == 0.0
