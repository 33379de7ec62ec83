"""expect_latency: what a measurement makes of a bound, and what an inconclusive one does to a test.

Measurements are given, not taken: no time decides a test. tests/latency measures.
"""

import math
import os

import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.gates import latency_answers
from pytest_modelcheck.latency import PairedLatency
from tests.gate_checks import TEN_NODES, ask, check_of_graph, said


def measured(ratio, reach=0.01, noise=0.004):
    return PairedLatency(
        ratio=ratio,
        interval=(ratio - reach, ratio + reach),
        noise=(1 - noise, 1 + noise),
        pairs=40,
        verdict=Verdict.PASS,
        reason="",
        a_ms=2.0 * ratio,
        b_ms=2.0,
        seconds=3.0,
    )


NOTHING = PairedLatency(
    ratio=math.nan,
    interval=(math.nan, math.nan),
    noise=(math.nan, math.nan),
    pairs=0,
    verdict=Verdict.ERROR,
    reason="a run raised RuntimeError: no memory",
    a_ms=math.nan,
    b_ms=math.nan,
    seconds=0.1,
)


@pytest.fixture
def check(tmp_path):
    return check_of_graph(TEN_NODES, tmp_path)


def judged(check, monkeypatch, latency, bound):
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: latency)
    return ask(check, "expect_latency", speedup=bound)


@pytest.mark.parametrize(
    ("ratio", "bound", "verdict"),
    [
        (1.05, ">=1.02", Verdict.PASS),
        (1.029, ">=1.02", Verdict.INCONCLUSIVE),
        (1.02, ">=1.02", Verdict.INCONCLUSIVE),
        (1.011, ">=1.02", Verdict.INCONCLUSIVE),
        (1.0, ">=1.02", Verdict.FAIL),
        (1.0, "0.98..1.02", Verdict.PASS),
        (1.2, "0.98..1.02", Verdict.FAIL),
    ],
)
def test_a_ratio_is_judged_with_its_interval(check, monkeypatch, ratio, bound, verdict):
    assert judged(check, monkeypatch, measured(ratio), bound).verdict is verdict


def test_the_finding_names_both_times_and_the_noise(check, monkeypatch):
    assert said(judged(check, monkeypatch, measured(1.0), ">=1.02")) == (
        "expect_latency: speedup expected >=1.02, found speedup 1x, between 0.99 and 1.01x in graph "
        "(optimized, onnx, target portable)\n"
        "  where: exported 2.00 ms, optimized 2.00 ms in onnxruntime at its default level\n"
        "         40 pairs in 3 s; exported against itself measured 0.996 to 1.004\n"
        "  next:  Compare the attribution and module snapshots for what changed; if it is meant, change the marker."
    )


def test_nothing_measured_is_an_error_with_the_reason(check, monkeypatch):
    result = judged(check, monkeypatch, NOTHING, ">=0.1")
    assert result.verdict is Verdict.ERROR
    assert "a run raised RuntimeError: no memory" in said(result)


def test_a_budget_that_is_too_small_is_an_error(tmp_path):
    check = check_of_graph(TEN_NODES, tmp_path, latency_budget=1e-6)
    assert ask(check, "expect_latency", speedup=">=0.001").verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("choice", "outcomes"), [("warn", {"passed": 1}), ("fail", {"failed": 1}), ("skip", {"skipped": 1})]
)
def test_what_an_inconclusive_measurement_does_is_an_option(project, monkeypatch, choice, outcomes):
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: measured(1.02))
    run = project.ini(modelcheck_inconclusive=choice).gated("expect_latency(speedup='>=1.02')").run("-rs")
    run.outcomes(**outcomes).has("[inconclusive] expect_latency: speedup expected >=1.02, found speedup 1.02x, between")
    run.has("1 inconclusive")


@pytest.mark.parametrize(
    ("ci", "option", "ratio", "outcomes"),
    [
        ("true", [], 1.011, {"failed": 1}),  # 1.0 to 1.02: unclear, and the estimate misses 1.02
        ("true", [], 1.025, {"passed": 1}),  # unclear, and the estimate meets it
        ("true", ["--modelcheck-inconclusive=warn"], 1.011, {"passed": 1}),
        ("", [], 1.011, {"passed": 1}),
        ("", ["--modelcheck-inconclusive=missed"], 1.011, {"failed": 1}),
    ],
)
def test_in_ci_an_unclear_latency_whose_estimate_misses_the_bound_fails(
    project, monkeypatch, ci, option, ratio, outcomes
):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: measured(ratio))
    project.gated("expect_latency(speedup='>=1.02')").run(*option).outcomes(**outcomes)


def test_in_ci_one_and_the_same_graph_never_fails(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: measured(0.985))
    project.gated("expect_latency(speedup='>=0.99')").run().outcomes(passed=1).has("1 inconclusive")


def test_an_inconclusive_latency_hides_no_failed_gate(project, monkeypatch):
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: measured(1.02))
    project.ini(modelcheck_inconclusive="skip").gated("expect_latency(speedup='>=1.02')", "expect_ops(Gemm=3)")
    project.run().outcomes(failed=1).has("expect_ops: Gemm expected 3")


def test_two_threads_are_timed_by_the_wall_clock(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path, latency_budget=20), "expect_latency", speedup=">=0.01", threads=2)
    assert result.verdict is Verdict.PASS


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away on this system")
def test_one_core_is_enough_for_a_verdict(tmp_path):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        result = ask(check_of_graph(TEN_NODES, tmp_path, latency_budget=20), "expect_latency", speedup=">=0.01")
    finally:
        os.sched_setaffinity(0, cores)
    assert result.verdict is Verdict.PASS


def test_warnings_that_are_errors_do_not_make_an_inconclusive_measurement_a_failure(project, monkeypatch):
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: measured(1.02))
    everything = ("-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning")  # of this run inside a run
    project.gated("expect_latency(speedup='>=1.02')").run(*everything).outcomes(passed=1).has(
        "[inconclusive] expect_latency: speedup expected >=1.02"
    )


def test_the_choice_is_an_option_of_the_command_line_too_and_wins_over_the_ini_file(project, monkeypatch):
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: measured(1.02))
    gated = project.ini(modelcheck_inconclusive="skip").gated("expect_latency(speedup='>=1.02')")
    gated.run("--modelcheck-inconclusive", "fail").outcomes(failed=1)
    gated.run("--modelcheck-inconclusive", "nail").usage_error("modelcheck_inconclusive: 'nail' is unknown")


def test_the_budget_is_an_option_of_the_command_line_too(project):
    run = project.gated("expect_latency(speedup='>=0.01')").run("--modelcheck-latency-budget", "0.000001")
    run.outcomes(failed=1).has("not one fits in the budget of 1e-06 s")
