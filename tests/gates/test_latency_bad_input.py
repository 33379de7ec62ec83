"""expect_latency where there is no number, or one that needs a word: each with its exact message."""

import os
import re

import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import latency_measures
from pytest_modelcheck.latency import FreshSession
from pytest_modelcheck.runtimes import SessionError, missing_provider
from tests.gate_checks import TEN_NODES, ask, check_of_graph, said

RANDOM = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2,3] x) => (float[2,3] y) {
    r = RandomNormalLike(x)
    y = Mul(x, r)
}
"""
NOT_MEASURED = "  next:  Nothing was measured, so nothing passed."


def sessions(monkeypatch, run, opening=lambda: None):
    """Every session that is opened runs `run`."""

    def fresh(*_):
        return FreshSession(lambda: opening() or run)

    monkeypatch.setattr(latency_measures, "fresh", fresh)


def test_one_run_that_is_longer_than_the_budget(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path, latency_budget=1e-6), "expect_latency", speedup=">=0.5")
    assert result.verdict is Verdict.ERROR
    number = r"[\d.e+-]+"
    assert re.fullmatch(
        r"\[error\] expect_latency: speedup expected >=0.5, found one run takes "
        rf"{number} s and a round of two new sessions {number} s: not one fits in the budget of 1e-06 s "
        r"\(modelcheck_latency_budget\) in graph \(optimized, onnx, target portable\)\n" + re.escape(NOT_MEASURED),
        said(result),
    )


def test_a_session_that_fails_on_the_second_run(tmp_path, monkeypatch):
    ran = []

    def run():
        ran.append(1)
        if len(ran) == 2:
            raise SessionError("exported: onnxruntime failed to run the model: device lost")

    sessions(monkeypatch, run)
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_latency", speedup=">=0.5")
    assert result.measured == ""
    assert said(result) == (
        "[error] expect_latency: speedup expected >=0.5, found a run failed: exported: onnxruntime failed to run the "
        f"model: device lost in graph (optimized, onnx, target portable)\n{NOT_MEASURED}"
    )


def test_random_outputs_are_timed_and_the_verdict_says_so(tmp_path):
    check = check_of_graph(RANDOM, tmp_path, latency_budget=20)
    note = "(random ops (RandomNormalLike): outputs vary between runs)"
    assert ask(check, "expect_latency", speedup=">=0.01").measured.endswith(note)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be taken away on this system")
def test_one_core_is_enough_and_the_verdict_says_so(tmp_path):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        check = check_of_graph(TEN_NODES, tmp_path, latency_budget=20)
        one = ask(check, "expect_latency", speedup=">=0.01")
        two = ask(check, "expect_latency", speedup=">=0.01", threads=2)
    finally:
        os.sched_setaffinity(0, cores)
    assert one.verdict is two.verdict is Verdict.PASS
    assert one.measured.endswith("(this machine has one core: whatever else runs on it takes turns with what is timed)")
    assert two.measured.endswith("(2 threads share 1 core)")


@pytest.mark.skipif(not missing_provider("CUDA"), reason="this onnxruntime has CUDA")
def test_a_provider_that_is_not_here_measures_nothing_and_passes_nothing(tmp_path):
    check = check_of_graph(TEN_NODES, tmp_path)
    result = ask(check, "expect_latency", speedup=">=0.5", provider="CUDA", batch_sizes=(1, 2))
    assert (result.verdict, result.measured) == (Verdict.INCONCLUSIVE, "")
    assert said(result) == (
        f"[inconclusive] expect_latency: speedup expected >=0.5, found nothing measured: {missing_provider('CUDA')} in "
        "graph (optimized, onnx, target portable)\n"
        "  next:  Run where it is, with the onnxruntime that has it; modelcheck_inconclusive decides whether this "
        "fails."
    )


# -- a stored time ----------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Asks for `stored` of a graph whose runs take so many milliseconds of a clock of their own."""
    now = [0.0]
    real = latency_measures.session_times
    monkeypatch.setattr(
        latency_measures, "session_times", lambda fresh, budget: real(fresh, budget, clock=lambda: now[0])
    )

    def ask_for(ms, bound="<=10%", **how):
        def run():
            now[0] += ms / 1000

        sessions(monkeypatch, run)
        check = check_of_graph(TEN_NODES, tmp_path, cache=tmp_path / "cache", latency_budget=60)
        return ask(check, "expect_latency", stored=bound, **how)

    return ask_for


def test_where_nothing_comparable_is_stored_the_verdict_says_so_and_stores_it(asked, tmp_path):
    result = asked(10)
    (file,) = (tmp_path / "cache" / "times").glob("*.json")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert said(result) == (
        "[inconclusive] expect_latency: stored expected <=10%, found no time of this graph on this machine with these "
        "versions in graph (optimized, onnx, target portable)\n"
        f"  where: 10.00 ms is stored from now on, in {file}\n"
        "  next:  Run again: the next run on this machine is compared with this one. Times of other machines never are."
    )


def test_the_next_run_is_compared_with_it(asked):
    asked(10)
    close = asked(10.5)
    assert (close.verdict, close.measured) == (
        Verdict.PASS,
        "against the stored time +5.0% [+5.0, +5.0], 12 rounds",
    )
    assert asked(12).verdict is Verdict.INCONCLUSIVE
    slow = asked(20)
    assert slow.verdict is Verdict.FAIL
    assert "stored expected <=10%, found regression 100 %" in said(slow)
    assert "today's 20.00 ms, the stored one 10.00 ms in onnxruntime at its default level" in said(slow)
    assert "If the loss is meant, delete that file: the next run stores its own time." in said(slow)


def test_a_time_of_another_machine_is_never_compared_and_is_named(asked, monkeypatch):
    monkeypatch.setattr("platform.node", lambda: "ci-7")
    asked(1)
    monkeypatch.setattr("platform.node", lambda: "ci-8")
    result = asked(10)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert re.search(r"machine ci-7 \(.*\), now ci-8 \(.*\)", said(result))


def test_without_a_cache_there_is_no_place_for_it(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_latency", stored="<=10%")
    assert result.verdict is Verdict.ERROR
    assert "times are stored in the cache of exports, and this run has none" in said(result)


# -- throughput -------------------------------------------------------------------------------------------------------


def batched(axes):
    return ModelCheck(
        ModelCase("net", lambda: torch.nn.Linear(4, 4), lambda seed: {"input": torch.randn(2, 4)}, dynamic_axes=axes)
    )


def test_throughput_at_batch_sizes_stands_beside_the_verdict(monkeypatch):
    check = batched({"input": {0: "batch"}})
    result = ask(check, "expect_latency", speedup=">=0.01", batch_sizes=(1, 8))
    assert re.search(r"rounds, batch 1: \S+ -> \S+ per s, batch 8: \S+ -> \S+ per s$", result.measured)
    rows = result.figures["throughput"]
    assert [row["batch"] for row in rows] == [1, 8]
    assert all(row["exported_per_s"] > 0 and row["optimized_per_s"] > 0 for row in rows)


def test_a_case_without_a_batch_axis_has_no_throughput():
    result = ask(batched(None), "expect_latency", speedup=">=0.01", batch_sizes=4)
    assert result.verdict is Verdict.ERROR
    assert "axis 'batch' is unknown: the case has no dynamic_axes" in said(result)


def test_the_report_holds_opening_first_run_and_percentiles_of_both_sides(tmp_path):
    check = check_of_graph(TEN_NODES, tmp_path, latency_budget=20)
    result = ask(check, "expect_latency", speedup=">=0.01")
    times = result.figures["latency"]["times"]
    assert list(times) == ["exported", "optimized"]
    for side in times.values():
        assert list(side) == ["opening_ms", "first_ms", "p50_ms", "p95_ms", "p99_ms"]
        assert 0 < side["p50_ms"] <= side["p95_ms"] <= side["p99_ms"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("stored='<=5'", "stored='<=5': write a percentage, e.g. stored=\"<=5%\""),
        ("speedup='>=1', provider='GPU'", "provider 'GPU' is unknown; choose CPU or CUDA"),
        ("speedup='>=1', batch_sizes=(0,)", "batch_sizes=(0,): write positive numbers, e.g. (1, 8, 32)"),
    ],
)
def test_bad_arguments_are_usage_errors(project, arguments, message):
    project.gated(f"expect_latency({arguments})").run().bad_marker(f"test_it.py::test_net: expect_latency: {message}")
