"""A sketch: what it ignores, what it sees, and both sides of the tolerance."""

import math

import pytest
import torch

from pytest_modelcheck.numbers.results import TOLERANCE
from pytest_modelcheck.numbers.sketch import Sketch, short_sketch, sketch

X = torch.randn(4, 50, 32, generator=torch.Generator().manual_seed(0))


def moved(x):
    return sketch(X).distance(sketch(x))


def test_equal_values_have_distance_0_whatever_their_strides():
    assert moved(X.transpose(0, 1).contiguous().transpose(0, 1)) == 0.0
    assert sketch(X).shape == (4, 50, 32)
    assert len(sketch(X).numbers) == 18


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.flip(0),
        lambda x: x.flip(2),
        lambda x: x.roll(1, 1),
        lambda x: x.roll(1, 2),
        lambda x: -x,
        lambda x: x.transpose(1, 2).reshape(4, 50, 32),
        lambda x: torch.cat((x[:, :1] + 0.05, x[:, 1:]), 1),
        lambda x: torch.where(torch.arange(32) == 7, 1.01 * x, x),
        lambda x: x.half().float(),
    ],
)
def test_a_permutation_a_shift_and_one_changed_row_are_seen(change):
    assert moved(change(X)) > TOLERANCE


@pytest.mark.parametrize(("numbers", "distance"), [((2.0, 3.0002), 1e-4), ((2.0, 2.9994), 3e-4), ((2.0, 3.0), 0.0)])
def test_a_distance_is_the_largest_difference_over_the_rms(numbers, distance):
    recorded = Sketch(dtype="float32", shape=(4,), numbers=(2.0, 3.0))
    assert recorded.distance(Sketch(dtype="float32", shape=(4,), numbers=numbers)) == pytest.approx(distance)


def test_rounding_is_far_below_the_tolerance():
    noise = 1 + 3e-7 * torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
    assert moved(X * noise) < TOLERANCE / 20


def test_elements_that_are_not_finite_or_huge_are_counted_alike():
    minimum, infinite = X.clone(), X.clone()
    minimum[0, 0, :6], infinite[0, 0, :6] = torch.finfo(torch.float32).min, -math.inf
    assert sketch(minimum) == sketch(infinite)
    assert sketch(infinite).left_out == 6
    infinite[0, 0, 6] = math.nan
    assert sketch(minimum).distance(sketch(infinite)) == math.inf


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([[1, 2], [3, 40_000_000]]),
        torch.tensor([True, False]),
        torch.tensor(3),
        torch.zeros(0, 4, dtype=torch.int32),
        torch.arange(5, dtype=torch.uint8),
    ],
)
def test_integers_and_bools_are_exact(tensor):
    assert sketch(tensor).distance(sketch(tensor.clone())) == 0.0
    assert sketch(tensor).numbers == ()
    if tensor.numel():
        other = tensor.clone()
        other.view(-1)[-1] = ~other.view(-1)[-1]
        assert sketch(tensor).distance(sketch(other)) == math.inf


@pytest.mark.parametrize(
    ("tensor", "dtype"),
    [
        (torch.zeros(0, 3), "float32"),
        (torch.zeros(3), "float32"),
        (torch.tensor(2.5), "float32"),
        (torch.ones(3, dtype=torch.complex64), "complex64"),
        (torch.ones(3, dtype=torch.bfloat16), "bfloat16"),
        (torch.eye(3).to_sparse(), "float32"),
        (torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "qint8"),
        (torch.ones(200_000), "float32"),
    ],
)
def test_every_kind_of_tensor_has_a_sketch(tensor, dtype):
    made = sketch(tensor)
    assert made.dtype == dtype
    assert made.distance(made) == 0.0
    assert math.isfinite(short_sketch(tensor))


def test_an_output_of_zeros_is_far_from_any_other():
    assert sketch(torch.zeros(9)).distance(sketch(torch.full((9,), 1e-9))) == math.inf


def test_the_short_sketch_sees_a_sign_and_a_permutation():
    assert short_sketch(X) != pytest.approx(short_sketch(-X), rel=1e-3)
    assert short_sketch(X) != pytest.approx(short_sketch(X.flip(1)), rel=1e-5)
