"""What an interval says about a bound: inside, outside, or neither."""

import math

import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.latency import PairedLatency, evaluate_regression, evaluate_speedup
from pytest_modelcheck.latency.judgement import evaluate_resolution


def latency(ratio, reach=0.01, noise=0.001, verdict=Verdict.INCONCLUSIVE, reason="", spread=0.0):
    return PairedLatency(
        ratio=ratio,
        interval=(ratio - reach, ratio + reach),
        noise=(1 / (1 + noise), 1 + noise),
        pairs=100,
        verdict=verdict,
        reason=reason,
        a_ms=10.0,
        b_ms=10.0 / ratio,
        seconds=4.0,
        spread=spread,
    )


@pytest.mark.parametrize(
    ("ratio", "bound", "verdict"),
    [
        (1.05, ">=1.02", Verdict.PASS),
        (1.031, ">=1.02", Verdict.PASS),
        (1.029, ">=1.02", Verdict.INCONCLUSIVE),
        (1.011, ">=1.02", Verdict.INCONCLUSIVE),
        (1.009, ">=1.02", Verdict.FAIL),
        (1.0, ">=1.0", Verdict.INCONCLUSIVE),
        (0.98, ">=1.0", Verdict.FAIL),
        (1.0, ">=0.95", Verdict.PASS),
        (1.0, "0.98..1.02", Verdict.PASS),
        (1.015, "0.98..1.02", Verdict.INCONCLUSIVE),
        (1.04, "0.98..1.02", Verdict.FAIL),
        (0.96, "0.98..1.02", Verdict.FAIL),
    ],
)
def test_a_speedup_passes_inside_the_bound_fails_outside_and_is_inconclusive_across_its_edge(ratio, bound, verdict):
    assert evaluate_speedup(latency(ratio), parse_bound(bound)).verdict is verdict


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.0, Verdict.PASS), (1.039, Verdict.PASS), (1.045, Verdict.INCONCLUSIVE), (1.061, Verdict.FAIL)],
)
def test_a_regression_is_the_percentage_that_a_takes_more_than_b(ratio, verdict):
    assert evaluate_regression(latency(ratio), parse_bound("<=5%")).verdict is verdict


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.02, Verdict.PASS), (0.98, Verdict.INCONCLUSIVE), (0.94, Verdict.INCONCLUSIVE), (0.92, Verdict.FAIL)],
)
def test_sessions_must_differ_by_more_than_equal_ones_do_before_a_gate_fails(ratio, verdict):
    judged = evaluate_speedup(latency(ratio, spread=0.07), parse_bound(">=1.0"))
    assert judged.verdict is verdict
    if ratio == 0.98:
        assert "two sessions of one and the same graph differ by up to 7 %" in judged.reason


def test_a_regression_of_sessions_must_be_beyond_their_spread_too():
    bound = parse_bound("<=5%")
    assert evaluate_regression(latency(1.12, spread=0.07), bound).verdict is Verdict.INCONCLUSIVE
    assert evaluate_regression(latency(1.15, spread=0.07), bound).verdict is Verdict.FAIL


def test_an_inconclusive_verdict_says_how_long_a_run_would_be_needed():
    judged = evaluate_speedup(latency(0.995, reach=0.01), parse_bound(">=1.0"))
    assert "about 16 s of measuring would tell" in judged.reason  # twice as narrow takes four times the 4 s
    assert "no length of run would tell" in evaluate_speedup(latency(1.0), parse_bound(">=1.0")).reason


@pytest.mark.parametrize("evaluate", [evaluate_speedup, evaluate_regression])
def test_what_was_not_measured_is_an_error_and_never_a_number(evaluate):
    unmeasured = latency(math.nan, verdict=Verdict.ERROR, reason="a run failed: ValueError: x")
    judged = evaluate(unmeasured, parse_bound(">=-1000" if evaluate is evaluate_speedup else "<=1000%"))
    assert judged.verdict is Verdict.ERROR
    assert judged.reason == "a run failed: ValueError: x"


def test_without_a_bound_a_difference_beyond_the_noise_passes_and_nothing_fails():
    assert evaluate_resolution(latency(1.05)).verdict is Verdict.PASS
    assert evaluate_resolution(latency(0.95)).verdict is Verdict.PASS
    assert evaluate_resolution(latency(1.005)).verdict is Verdict.INCONCLUSIVE
    assert evaluate_resolution(latency(1.05, noise=0.06)).verdict is Verdict.INCONCLUSIVE
