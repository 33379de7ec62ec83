"""Every gate against what it must not take for right, and against harmless neighbours: rows of the tables beside it."""

import math

import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict, latency, runtimes
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.check.settings import Locked
from pytest_modelcheck.gates import latency_answers
from pytest_modelcheck.latency import PairedLatency
from pytest_modelcheck.pipeline import as_passes
from tests.attacks import graphs, measured, modules
from tests.gate_checks import ask, check_of_graph, said


def judged(result, says):
    """Red with these words, or green with a measurement."""
    if says:
        assert result.verdict in (Verdict.FAIL, Verdict.ERROR), result.measured
        assert says in said(result)
    else:
        assert result.verdict is Verdict.PASS, said(result)


def ids(rows):
    return [f"{row.gate}: {row.name}" for row in rows]


@pytest.mark.parametrize("row", graphs.ROWS, ids=ids(graphs.ROWS))
def test_a_graph(row, tmp_path):
    passes = None if row.passes is None else as_passes(list(row.passes))
    check = check_of_graph(graphs.HEAD + row.graph, tmp_path, passes=passes)
    judged(ask(check, row.gate, **row.arguments), row.says)


@pytest.mark.parametrize(
    ("gate", "name", "body", "says", "arguments"), modules.ROWS, ids=[f"{r[0]}: {r[1]}" for r in modules.ROWS]
)
def test_a_module(gate, name, body, says, arguments):
    case = ModelCase("net", lambda: modules.Held(body), lambda seed: (torch.ones(2, 6, 8),))
    judged(ask(ModelCheck(case), gate, **arguments), says)


def given(ratio, reach, noise):
    """A measurement with these figures."""
    nothing = math.isnan(ratio)
    return PairedLatency(
        ratio=ratio,
        interval=(ratio - reach, ratio + reach),
        noise=(1 - noise, 1 + noise),
        pairs=0 if nothing else 40,
        verdict=Verdict.ERROR if nothing else Verdict.PASS,
        reason="a run raised RuntimeError: no memory" if nothing else "",
        a_ms=2.0 * ratio,
        b_ms=2.0,
        seconds=3.0,
    )


@pytest.mark.parametrize(
    ("name", "question", "ratio", "reach", "noise", "bound", "verdict", "says"),
    measured.ROWS,
    ids=[row[0] for row in measured.ROWS],
)
def test_a_measured_time(tmp_path, monkeypatch, name, question, ratio, reach, noise, bound, verdict, says):
    check = check_of_graph(graphs.HEAD + graphs.CHAIN, tmp_path)
    check.locked = Locked(text=lambda kind: "a locked graph")
    found = given(ratio, reach, noise)
    monkeypatch.setattr(latency_answers, "measure_speedup", lambda check, bound, how: found)
    monkeypatch.setattr(latency_answers, "measure_regression", lambda check, bound, locked, how: (found, ()))
    monkeypatch.setattr(latency_answers, "measure_stored", lambda check, how: (found, ()))
    monkeypatch.setattr(latency_answers, "same_graph", lambda locked, today: False)
    monkeypatch.setattr(latency_answers, "modules_that_slowed", lambda check, locked: ())
    result = ask(check, "expect_latency", **{question: bound})
    assert result.verdict is verdict, said(result)
    assert says in said(result)


@pytest.mark.parametrize(
    ("name", "copies", "bound", "verdict"), measured.COPIES, ids=[row[0] for row in measured.COPIES]
)
def test_copies_between_host_and_device(tmp_path, monkeypatch, name, copies, bound, verdict):
    path = check_of_graph(graphs.HEAD + "g (float[2,4] x) => (float[2,4] y) { y = Relu(x) }", tmp_path).case.onnx_path
    check = ModelCheck(ModelCase.from_onnx(path, lambda seed: (torch.ones(2, 4),), module=torch.nn.ReLU))
    monkeypatch.setattr(latency, "copies_across", lambda path, how: copies)
    monkeypatch.setattr(runtimes, "missing_provider", lambda provider, runtime="onnxruntime": "")
    result = ask(check, "expect_host_transfers", memcpy=bound)
    assert result.verdict is verdict, said(result)
    if verdict is Verdict.FAIL:
        assert f"memcpy expected {bound}, found {sum(copies.values())} Memcpy node" in said(result)
