"""Examples per second, under a clock that the runs themselves advance."""

import pytest

from pytest_modelcheck.latency import Throughput, per_second
from pytest_modelcheck.latency.run_times import UntimedError


def test_a_run_of_eight_examples_in_20_ms_is_400_per_second():
    now = [0.0]

    def run():
        now[0] += 0.02

    assert per_second(run, 8, clock=lambda: now[0]) == pytest.approx(400)


def test_slow_runs_are_taken_fewer_times():
    now, runs = [0.0], [0]

    def run():
        now[0] += 1.5
        runs[0] += 1

    assert per_second(run, 3, clock=lambda: now[0]) == pytest.approx(2)
    assert runs[0] == 4  # one that allocates, one that shows how long it takes, and two until 2 s are over


def test_runs_that_take_no_time_are_an_error():
    with pytest.raises(UntimedError, match="the clock is too coarse"):
        per_second(lambda: None, 1, clock=lambda: 0.0)


def test_how_it_is_written():
    assert str(Throughput(8, 400.0, 512.34)) == "batch 8: 400 -> 512.3 per s"
