"""Intervals of few samples: their coverage, and what is known of them before."""

import math

import numpy as np
import pytest

from pytest_modelcheck.latency.statistics import (
    NO_INTERVAL,
    mean_interval,
    moderated_interval,
    student_quantile,
)


@pytest.mark.parametrize(
    ("freedom", "probability", "published"),
    [
        (1, 0.975, 12.706),
        (2, 0.975, 4.303),
        (3, 0.999, 10.215),
        (4, 0.95, 2.132),
        (9, 0.999, 4.297),
        (30, 0.975, 2.042),
    ],
)
def test_students_t_is_the_published_one(freedom, probability, published):
    assert student_quantile(probability, freedom) == pytest.approx(published, abs=6e-4)


@pytest.mark.parametrize("count", [4, 6, 20])
def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says(count):
    generator = np.random.default_rng(count)
    covered = 0
    for _ in range(2000):
        interval = mean_interval(generator.standard_normal(count).tolist(), confidence=0.9)
        covered += interval.low <= 0 <= interval.high
    assert 1760 <= covered <= 1840  # 0.9 of them, and three standard deviations of that count


@pytest.mark.parametrize("samples", [[], [0.1, 0.2], [0.1, 0.2, math.nan], [0.1, 0.2, math.inf, 0.3]])
def test_two_rounds_or_one_that_is_no_number_have_no_interval(samples):
    assert mean_interval(samples) is NO_INTERVAL


def test_a_known_spread_gives_one_sample_an_interval_and_many_samples_outweigh_it():
    one = moderated_interval([0.1], spread=0.01, confidence=0.99)
    assert one.median == 0.1
    assert one.high - 0.1 == pytest.approx(4.604 * 0.01, rel=1e-3)  # Student's t for 0.995 and four degrees of freedom
    samples = np.random.default_rng(0).normal(0, 0.05, 400).tolist()
    plain, leaning = mean_interval(samples, 0.99), moderated_interval(samples, spread=0.01, confidence=0.99)
    assert leaning.high - leaning.low == pytest.approx(plain.high - plain.low, rel=0.01)


@pytest.mark.parametrize("samples", [[], [math.nan], [0.1, math.inf]])
def test_no_sample_or_one_that_is_no_number_has_no_interval_however_much_is_known(samples):
    assert moderated_interval(samples, spread=0.01) is NO_INTERVAL
