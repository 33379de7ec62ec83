"""The figures of one output, against numpy written out."""

import math

import numpy as np
import pytest

from pytest_modelcheck.accuracy import Tolerance, metrics
from pytest_modelcheck.accuracy.magnitude import magnitudes
from pytest_modelcheck.accuracy.metrics import measure, percentile, top1_agreement

RANDOM = np.random.default_rng(0)


def measured_within(reference, candidate, limit):
    tolerance = Tolerance(limit, 0.0)
    return measure(reference, candidate, tolerance, magnitudes(reference, tolerance))


def pair(shape=(20, 30), noise=1e-3):
    reference = RANDOM.standard_normal(shape).astype(np.float32)
    return reference, reference + (noise * RANDOM.standard_normal(shape)).astype(np.float32)


def test_every_figure_equals_its_definition():
    reference, candidate = pair()
    r, c = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    difference = np.abs(c - r)
    measured = measured_within(reference, candidate, 1e-3)
    assert measured.max_abs == difference.max()
    assert measured.mean_abs == pytest.approx(difference.mean())
    assert measured.p99_abs == np.sort(difference)[593]  # 0.99 x 600 = 594th smallest
    assert measured.max_rel == pytest.approx((difference / np.abs(r)).max())
    assert measured.mean_rel == pytest.approx((difference / np.abs(r)).mean())
    assert measured.cosine == pytest.approx(r @ c / np.sqrt((r @ r) * (c @ c)))
    assert measured.snr_db == pytest.approx(10 * np.log10((r @ r) / (difference @ difference)))
    assert measured.over_share == (difference > 1e-3).mean()
    assert measured.worst_index == np.unravel_index(difference.argmax(), (20, 30))
    assert measured.candidate_value == candidate[measured.worst_index]


def test_the_figures_do_not_depend_on_the_size_of_the_chunks(monkeypatch):
    reference, candidate = pair()
    candidate[3, 4] = np.inf
    whole = measured_within(reference, candidate, 1e-3)
    monkeypatch.setattr(metrics, "CHUNK", 601)
    chunked = measured_within(reference, candidate, 1e-3)
    assert chunked == whole
    monkeypatch.setattr(metrics, "CHUNK", 97)
    chunked = measured_within(reference, candidate, 1e-3)
    assert chunked.worst_index == whole.worst_index == (3, 4)
    assert chunked.over_share == whole.over_share
    assert chunked.mean_abs == pytest.approx(whole.mean_abs)
    assert chunked.cosine == pytest.approx(whole.cosine)


def test_zero_elements_have_no_relative_difference_and_a_zero_vector_no_angle():
    measured = measured_within(np.zeros(3, np.float32), np.ones(3, np.float32), 0.0)
    assert math.isnan(measured.max_rel)
    assert math.isnan(measured.cosine)
    assert math.isnan(measured.snr_db)
    assert measured.max_abs == 1.0


def test_equal_arrays_have_infinite_signal_to_noise():
    reference, _ = pair()
    assert measured_within(reference, reference, 0.0).snr_db == math.inf


def test_large_finite_values_do_not_become_a_false_agreement():
    reference = np.array([1e38, 1.0], np.float32)
    assert measured_within(reference, -reference, 1.0).max_abs == pytest.approx(2e38)
    huge = np.array([1e308, 1.0])
    assert measured_within(huge, -huge, 1.0).max_abs == math.inf


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (2, 2), (99, 99), (100, 99), (101, 100), (200, 198)])
def test_the_percentile_is_the_nearest_rank(count, rank):
    assert percentile(np.arange(1.0, count + 1)) == rank


def test_top1_counts_the_rows_whose_largest_element_stays():
    reference = np.array([[1, 2, 3], [3, 2, 1], [1, 3, 2], [0, 0, 1]], np.float32)
    candidate = reference.copy()
    candidate[0] = [3, 2, 1]
    assert top1_agreement(reference, reference) == 1.0
    assert top1_agreement(reference, candidate) == 0.75


@pytest.mark.parametrize("shape", [(), (4, 1), (0, 3)])
def test_top1_means_nothing_without_at_least_two_classes(shape):
    assert math.isnan(top1_agreement(np.zeros(shape), np.zeros(shape)))
