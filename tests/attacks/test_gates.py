"""Every gate against what it must not take for right, and against harmless neighbours: rows of the tables beside it."""

import functools
import math

import onnx
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict, latency, runtimes
from pytest_modelcheck.calling import build_module
from pytest_modelcheck.capture import capture
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.check.settings import Locked
from pytest_modelcheck.export import export
from pytest_modelcheck.fusion import partition
from pytest_modelcheck.gates import latency_answers, latency_measures
from pytest_modelcheck.golden import write_golden
from pytest_modelcheck.latency import PairedLatency
from pytest_modelcheck.latency.run_times import RunTimes, Samples
from pytest_modelcheck.latency.stored import SessionTimes
from pytest_modelcheck.pipeline import as_passes
from tests import generation_models
from tests.attacks import caches, files, fusion, golden, graphs, measured, modules, owners, states, stored
from tests.gate_checks import ask, check_of_graph, said
from tests.parity_models import decoder


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


@functools.cache
def fused(body):
    """The report of a forward: rows that share it ask for one capture."""
    case = ModelCase("net", lambda: modules.Held(body), lambda seed: (torch.ones(2, 6, 8),))
    return partition(capture(case))


@pytest.mark.parametrize(("name", "body", "says", "arguments"), fusion.ROWS, ids=[row[0] for row in fusion.ROWS])
def test_a_fusion(tmp_path, name, body, says, arguments):
    check = check_of_graph(graphs.HEAD + graphs.RELUS, tmp_path)
    check.once("fusion", lambda: fused(body))
    judged(ask(check, "expect_fusion", **arguments), says)


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
    ("name", "then", "now", "between", "bound", "verdict", "says"), stored.ROWS, ids=[row[0] for row in stored.ROWS]
)
def test_a_stored_time(tmp_path, monkeypatch, name, then, now, between, bound, verdict, says):
    def asked(ms):
        times = SessionTimes(ms, RunTimes.of(Samples(steady=[ms[0] / 1000])), 3.0)
        monkeypatch.setattr(latency_measures, "session_times", lambda fresh, budget: times)
        check = check_of_graph(graphs.HEAD + graphs.CHAIN, tmp_path, cache=tmp_path / "cache")
        return ask(check, "expect_latency", stored=bound)

    assert asked(then).verdict is Verdict.INCONCLUSIVE, "a first time is compared with nothing"
    if between is not None:
        between(tmp_path / "cache" / "times", monkeypatch)
    result = asked(now)
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


@pytest.mark.parametrize(("name", "kind", "says"), caches.ROWS, ids=[row[0] for row in caches.ROWS])
def test_a_cache(name, kind, says):
    asked = {"cache": ("past", "present"), "sequence": "ids"}
    judged(ask(ModelCheck(decoder(kind)), "expect_cache_parity", **asked), says)


@pytest.mark.parametrize(("name", "build", "options", "says"), states.ROWS, ids=[row[0] for row in states.ROWS])
def test_a_state(name, build, options, says):
    case = ModelCase("net", build, lambda seed: (torch.randn(5, 3),))
    judged(ask(ModelCheck(case), "expect_state_roundtrip", **options), says)


@functools.cache
def outputs_of_the_reference():
    """What `golden.Net` gives for three seeds."""
    module = build_module(ModelCase("net", golden.Net, golden.inputs))
    with torch.no_grad():
        return {seed: module(*golden.inputs(seed)).numpy() for seed in range(3)}


@pytest.mark.parametrize("row", golden.ROWS, ids=[row.name for row in golden.ROWS])
def test_a_golden_file(tmp_path, row):
    path = tmp_path / "net.golden.npz"
    write_golden(
        path,
        producer="numpy",
        versions={"numpy": "2"},
        weights=build_module(ModelCase("net", row.written, golden.inputs)),
        inputs={seed: {"x": golden.inputs(seed)[0]} for seed in range(3)},
        outputs={seed: {"output_0": array} for seed, array in row.outputs(outputs_of_the_reference()).items()},
    )
    path.write_bytes(row.content(path.read_bytes()))
    case = ModelCase("net", row.build, row.inputs, exporter="torchscript")
    judged(ask(ModelCheck(case), "expect_golden", path, **row.options), row.says)


@functools.cache
def exported(build, draw, axes):
    """The file that torchscript writes of this module."""
    made = export(ModelCase("net", build, draw, exporter="torchscript", dynamic_axes=axes and generation_models.AXES))
    return onnx.load(made.path)


def check_of_edited(row, folder, build, draw, *, axes=False):
    path = folder / "net.onnx"
    onnx.save(files.edited(exported(build, draw, axes), row), path)
    return ModelCheck(ModelCase.from_onnx(path, draw, module=build))


IN_RUNTIMES = [("onnxruntime", row) for row in files.RUNTIME] + [("reference", row) for row in files.RUNTIME[::4]]


@pytest.mark.parametrize(("runtime", "row"), IN_RUNTIMES, ids=[f"{name}: {row.name}" for name, row in IN_RUNTIMES])
def test_a_file_in_a_runtime(tmp_path, runtime, row):
    check = check_of_edited(row, tmp_path, files.Net, files.net_inputs)
    judged(ask(check, "expect_runtime", runtime, seeds=2, varied=False), row.says)


@pytest.mark.parametrize("row", files.GENERATION, ids=[row.name for row in files.GENERATION])
def test_a_file_that_generates(tmp_path, row):
    check = check_of_edited(row, tmp_path, generation_models.Decoder, generation_models.inputs, axes=True)
    judged(ask(check, "expect_generation", tokens=4), row.says)


@pytest.mark.parametrize(("name", "edit", "says", "arguments"), owners.FILES, ids=[row[0] for row in owners.FILES])
def test_owners_in_a_file(tmp_path, name, edit, says, arguments):
    model = onnx.ModelProto()
    model.CopyFrom(exported(files.Net, files.net_inputs, False))
    edit(model.graph)
    onnx.save(model, tmp_path / "net.onnx")
    check = ModelCheck(ModelCase.from_onnx(tmp_path / "net.onnx", files.net_inputs, module=files.Net))
    judged(ask(check, "expect_hierarchy", **arguments), says)


@pytest.mark.parametrize(("name", "body", "says", "arguments"), owners.MODULES, ids=[row[0] for row in owners.MODULES])
def test_owners_of_a_module(name, body, says, arguments):
    inputs = torch.ones(2, 6, 8)
    case = ModelCase("net", lambda: modules.Held(body), lambda seed: (inputs,), exporter="torchscript")
    judged(ask(ModelCheck(case), "expect_hierarchy", **arguments), says)
