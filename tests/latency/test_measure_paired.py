"""`measure_paired` under a clock that the timed functions themselves advance: exact, whatever the machine does."""

import gc
import math
from functools import partial

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.latency import evaluate_regression, evaluate_speedup, measure_paired
from pytest_modelcheck.latency.judgement import SESSION_SPREAD
from pytest_modelcheck.latency.rounds import FEWEST_BLOCKS
from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, open_session


class Machine:
    """A machine with a clock: runs take what they cost, times noise, times how busy it is."""

    def __init__(self, noise=0.0, load=lambda now: 1.0):
        self.now = 0.0
        self.order = ""
        self._noise = noise
        self._load = load
        self._random = np.random.default_rng(0)

    def clock(self):
        return self.now

    def run(self, name, seconds):
        def run():
            self.order += name
            self.now += seconds * self._load(self.now) * math.exp(self._noise * self._random.standard_normal())

        return run

    def measure(self, a=0.01, b=0.01, **kwargs):
        return measure_paired(self.run("a", a), self.run("b", b), clock=self.clock, **kwargs)


def test_the_ratio_is_time_of_a_over_time_of_b():
    measured = Machine().measure(0.02, 0.01, budget_s=10)
    assert measured.ratio == pytest.approx(2.0)
    assert measured.interval == pytest.approx((2.0, 2.0))
    assert measured.noise == pytest.approx((1.0, 1.0))
    assert (measured.a_ms, measured.b_ms) == pytest.approx((20, 10))
    assert measured.verdict is Verdict.PASS


def test_runs_are_interleaved_a_b_b_a_then_b_a_a_b_and_each_side_runs_equally_often():
    machine = Machine()
    measured = machine.measure(budget_s=2)
    assert machine.order.startswith("ab" + "abba" + "abba" + "baab" + "ba" + "abba" + "abba" + "baab")
    assert machine.order.count("a") == machine.order.count("b")
    assert measured.pairs == FEWEST_BLOCKS * measured.rounds


def test_a_machine_that_slows_down_steadily_does_not_make_a_difference():
    measured = Machine(load=lambda now: 1 + now).measure(budget_s=5)
    assert measured.ratio == pytest.approx(1.0, abs=1e-3)
    assert measured.verdict is Verdict.INCONCLUSIVE


def test_a_machine_that_is_twice_as_slow_half_of_the_time_does_not_make_a_difference():
    judge = partial(evaluate_regression, bound=parse_bound("<=5%"))
    measured = Machine(noise=0.02, load=lambda now: 2.0 if int(now) % 2 else 1.0).measure(budget_s=60, judge=judge)
    assert measured.verdict is Verdict.PASS


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_slowdown_of_5_percent_fails_and_identical_runs_do_not(seed):
    judge = partial(evaluate_speedup, bound=parse_bound(">=0.98"))
    slow, same = Machine(noise=0.03), Machine(noise=0.03)
    slow._random = same._random = np.random.default_rng(seed)
    assert slow.measure(0.01, 0.0105, budget_s=30, judge=judge).verdict is Verdict.FAIL
    assert same.measure(0.01, 0.01, budget_s=30, judge=judge).verdict is not Verdict.FAIL


def test_measuring_stops_as_soon_as_the_answer_is_clear():
    judge = partial(evaluate_speedup, bound=parse_bound(">=1.02"))
    measured = Machine(noise=0.01).measure(0.02, 0.01, budget_s=1000, judge=judge)
    assert measured.verdict is Verdict.PASS
    assert measured.seconds < 3
    assert "speedup 2.001x" in measured.reason


def test_an_unclear_answer_uses_the_budget_and_does_not_exceed_it():
    judge = partial(evaluate_speedup, bound=parse_bound(">=1.0"))
    measured = Machine(noise=0.02).measure(budget_s=10, judge=judge)
    assert measured.verdict is Verdict.INCONCLUSIVE
    assert 9 < measured.seconds <= 10
    assert "the noise is larger than the difference" in measured.reason


def test_without_a_question_it_stops_when_the_interval_is_narrow():
    measured = Machine(noise=0.001).measure(budget_s=1000)
    assert measured.seconds < 10
    assert measured.interval[1] - measured.interval[0] < 0.006


# -- what cannot be measured ----------------------------------------------------------------------------------------


def assert_unmeasured(measured, reason):
    assert measured.verdict is Verdict.ERROR
    assert reason in measured.reason
    assert math.isnan(measured.ratio)
    assert all(math.isnan(end) for end in (*measured.interval, *measured.noise))
    assert measured.pairs == 0


def test_one_run_longer_than_the_budget_gives_no_number_and_says_how_long_it_would_take():
    said = "one run takes 5 s and a round of two new sessions 30 s: not one fits in the budget of 4 s"
    assert_unmeasured(Machine().measure(5, 5, budget_s=4), said)


@pytest.mark.parametrize("good_runs", [0, 1, 20])
def test_a_run_that_fails_in_the_middle_gives_no_number(good_runs):
    machine = Machine()
    run = machine.run("b", 0.01)

    def fails():
        if machine.order.count("b") >= good_runs:
            raise RuntimeError("device lost")
        run()

    measured = measure_paired(machine.run("a", 0.01), fails, budget_s=10, clock=machine.clock)
    assert_unmeasured(measured, "a run failed: RuntimeError: device lost")


def test_a_clock_that_stands_still_gives_no_number():
    measured = measure_paired(lambda: None, lambda: None, budget_s=10, clock=lambda: 0.0)
    assert_unmeasured(measured, "the clock is too coarse")


def test_short_runs_are_repeated_within_a_sample():
    measured = Machine().measure(1e-5, 2e-5, budget_s=1)
    assert measured.ratio == pytest.approx(0.5)
    assert (measured.a_ms, measured.b_ms) == pytest.approx((0.01, 0.02))


# -- real runs ------------------------------------------------------------------------------------------------------

RELU = '<ir_version: 8, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = Relu(x) }'


def test_two_real_sessions_with_feeds_are_measured():
    session = open_session(ir.from_onnx_text(RELU), AT_DEFAULT_LEVEL)
    feeds = {"x": np.ones(1000, np.float32)}
    first_look = partial(evaluate_speedup, bound=parse_bound(">0"))
    measured = measure_paired((session, feeds), (session, feeds), budget_s=60, judge=first_look)
    assert measured.pairs >= FEWEST_BLOCKS
    assert measured.interval[0] <= measured.ratio <= measured.interval[1]
    assert measured.a_ms > 0
    assert measured.verdict is Verdict.PASS


def test_two_sessions_of_one_graph_are_given_their_spread_and_one_session_against_itself_is_not():
    sessions = [open_session(ir.from_onnx_text(RELU), AT_DEFAULT_LEVEL) for _ in range(2)]
    feeds = {"x": np.ones(1000, np.float32)}
    first_look = partial(evaluate_speedup, bound=parse_bound(">0"))

    def spread(a, b):
        return measure_paired(a, b, budget_s=60, judge=first_look).spread

    assert spread((sessions[0], feeds), (sessions[1], feeds)) == SESSION_SPREAD
    assert spread((sessions[0], feeds), (sessions[0], feeds)) == 0.0
    assert spread(lambda: None, lambda: None) == 0.0


def test_feeds_that_do_not_fit_give_the_reason_and_no_number():
    session = open_session(ir.from_onnx_text(RELU), AT_DEFAULT_LEVEL)
    measured = measure_paired((session, {"y": np.ones(3, np.float32)}), (session, {}), budget_s=0.5)
    assert_unmeasured(measured, "input 'x' is missing")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_off_meanwhile_and_as_it_was_afterwards(enabled):
    states = set()
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        measure_paired(lambda: states.add(gc.isenabled()), lambda: None, budget_s=0.05)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
    assert states == {False}
