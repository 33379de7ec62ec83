"""Milliseconds of an earlier run: found under exactly their key, and worth less than a graph timed beside another."""

import math

import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.latency import FreshSession, StoredTimes, evaluate_regression, time_key
from pytest_modelcheck.latency.run_times import RunTimes, Samples, UntimedError
from pytest_modelcheck.latency.stored import MOST_SESSIONS, SessionTimes, compare_stored, session_times

VERSIONS = {"onnxruntime": "1.31.1", "torch": "2.13.0"}


def key(**changed):
    return time_key("net (dynamo, target portable)", "x [1, 3]", 1, "CPU", VERSIONS) | changed


class Machine:
    def __init__(self):
        self.now = 0.0

    def clock(self):
        return self.now

    def session(self, seconds, opening=0.5):
        def opened():
            self.now += opening

            def run():
                self.now += seconds

            return run

        return FreshSession(opened)


def times(ms, count=6):
    """Sessions around `ms` that differ by half a percent."""
    each = tuple(ms * math.exp(0.005 * (-1) ** index) for index in range(count))
    return SessionTimes(each, RunTimes.of(Samples(steady=[ms / 1000])), 3.0)


def judged(now, then, bound="<=10%"):
    return evaluate_regression(compare_stored(times(now), times(then).ms), parse_bound(bound))


def test_a_session_is_opened_several_times_and_gives_one_figure_each():
    machine = Machine()
    timed = session_times(machine.session(0.02), 100, clock=machine.clock)
    assert timed.ms == pytest.approx([20.0] * MOST_SESSIONS)
    assert (timed.times.opening_ms, timed.times.first_ms, timed.times.p99_ms) == pytest.approx((500, 20, 20))


def test_a_budget_for_fewer_sessions_than_an_interval_needs_is_an_error_that_says_what_it_takes():
    machine = Machine()
    message = "2 sessions were timed, 4 are needed; that takes about 6.4 s, the budget is 4 s"
    with pytest.raises(UntimedError, match=message):
        session_times(machine.session(0.1), 4, clock=machine.clock)


def test_what_was_stored_is_found_again_and_stored_anew_replaces_it(tmp_path):
    stored = StoredTimes(tmp_path / "times")
    assert stored.find(key()) is None
    stored.store(key(), (1.5, 1.25))
    assert stored.find(key()) == (1.5, 1.25)
    file = stored.store(key(), (2.0, 3.0))
    assert stored.find(key()) == (2.0, 3.0)
    assert list((tmp_path / "times").glob("*.json")) == [file]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("machine", "ci-7 (AMD EPYC, 4 cores)"),
        ("version of onnxruntime", "1.30.0"),
        ("threads", "2"),
        ("provider", "CUDA"),
        ("inputs", "x [2, 3]"),
    ],
)
def test_what_was_stored_elsewhere_is_never_found_and_the_difference_is_named(tmp_path, name, other):
    stored = StoredTimes(tmp_path)
    stored.store(key(**{name: other}), (1.5, 1.25))
    assert stored.find(key()) is None
    assert stored.differences(key()) == (f"{name} {other}, now {key()[name]}",)


def test_another_model_is_no_difference_and_a_damaged_file_is_nothing(tmp_path):
    stored = StoredTimes(tmp_path)
    stored.store(key(model="other"), (1.5, 1.25))
    stored.store(key(), (1.5, 1.25)).write_text("{")
    assert stored.find(key()) is None
    assert stored.differences(key()) == ()


@pytest.mark.parametrize(
    ("now", "verdict"), [(10.0, Verdict.PASS), (9.0, Verdict.PASS), (11.5, Verdict.INCONCLUSIVE), (16.0, Verdict.FAIL)]
)
def test_only_a_loss_beyond_what_two_runs_differ_by_fails(now, verdict):
    assert judged(now, 10.0).verdict is verdict


def test_a_smaller_loss_is_inconclusive_and_says_why():
    assert "two runs of one and the same graph, one after the other, differ by up to 26 %" in judged(12, 10).reason


def test_the_ratio_and_its_interval():
    latency = compare_stored(times(12), times(10).ms)
    assert latency.ratio == pytest.approx(1.2)
    low, high = latency.interval
    assert low < 1.2 < high
    assert high / low - 1 < 0.06
    assert (latency.a_ms, latency.b_ms) == pytest.approx((12, 10), rel=0.006)
