"""The interval of the median: its coverage, and what bursts and outliers do to it."""

import math

import numpy as np
import pytest

from pytest_modelcheck.latency.statistics import (
    MIN_PAIRS,
    NO_INTERVAL,
    mean_interval,
    median_interval,
    moderated_interval,
    sign_correlation,
    student_quantile,
)


@pytest.mark.parametrize("count", [MIN_PAIRS, 30, 200, 2000])
@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
def test_the_interval_holds_the_true_median_about_as_often_as_it_says(count, draw):
    true = math.log(2) if draw == "standard_exponential" else 0.0
    generator = np.random.default_rng(0)
    runs = 300
    inside = 0
    for _ in range(runs):
        interval = median_interval(getattr(generator, draw)(count).tolist())
        inside += interval.low <= true <= interval.high
    assert inside >= 0.985 * runs


def test_more_samples_make_it_narrower_by_about_their_square_root():
    samples = np.random.default_rng(0).standard_normal(4000).tolist()
    wide, narrow = (median_interval(samples[:count]) for count in (100, 4000))
    assert 4 < (wide.high - wide.low) / (narrow.high - narrow.low) < 10


def test_one_outlier_moves_nothing_however_large_it_is():
    samples = np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 101)).tolist()
    samples.append(samples.pop(samples.index(1.0)))
    assert median_interval([*samples[:-1], 1e9]) == median_interval(samples)


def test_samples_in_bursts_give_a_wider_interval_than_independent_ones():
    generator = np.random.default_rng(0)
    independent = generator.standard_normal(400)
    bursts = np.repeat(generator.standard_normal(40), 10) + 0.01 * generator.standard_normal(400)
    assert sign_correlation(bursts.tolist(), float(np.median(bursts))) > 0.7
    assert abs(sign_correlation(independent.tolist(), float(np.median(independent)))) < 0.2
    covered = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        bursts = np.repeat(generator.standard_normal(40), 10) + 0.01 * generator.standard_normal(400)
        interval = median_interval(bursts.tolist())
        covered += interval.low <= 0 <= interval.high
    assert covered >= 97


@pytest.mark.parametrize("samples", [[], [0.1] * (MIN_PAIRS - 1), [0.1] * 20 + [math.nan], [0.1] * 20 + [math.inf]])
def test_too_few_samples_or_one_that_is_no_number_give_no_interval(samples):
    interval = median_interval(samples)
    assert interval is NO_INTERVAL
    assert math.isnan(interval.low)


def test_the_smallest_count_spans_all_samples():
    samples = [float(index) for index in range(MIN_PAIRS)]
    interval = median_interval(samples)
    assert (interval.low, interval.median, interval.high) == (0.0, (MIN_PAIRS - 1) / 2, MIN_PAIRS - 1)


def test_the_same_samples_give_the_same_interval():
    samples = np.random.default_rng(3).standard_normal(500).tolist()
    assert median_interval(samples) == median_interval(list(samples))


def test_the_exact_and_the_approximate_rank_meet_at_a_thousand():
    generator = np.random.default_rng(1)
    samples = sorted(generator.standard_normal(1001).tolist())
    shuffled = list(samples)
    generator.shuffle(shuffled)
    exact, approximate = median_interval(shuffled[:1000]), median_interval(shuffled)
    assert abs(exact.low - approximate.low) < 0.02
    assert abs(exact.high - approximate.high) < 0.02


# -- the mean of a few rounds ---------------------------------------------------------------------------------------


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
