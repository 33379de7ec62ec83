"""`expect_runtime` with `ops=` and `latency=`: what the runtime executes, and how long it takes against onnxruntime."""

import dataclasses

import pytest
import torch

from pytest_modelcheck import Verdict, runtimes
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates import MarkerError, registered_gates
from pytest_modelcheck.gates.deployed_graph import operators
from pytest_modelcheck.gates.runtime import parse
from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, RUNTIMES, RuntimeMissingError, onnxruntime
from tests.gate_checks import ask, check_of_module, said


def net():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 4)
    )


def asked(name, **more):
    pytest.importorskip(name)
    return ask(check_of_module(net, 1, 3, 8, 8), "expect_runtime", name, seeds=1, varied=False, **more)


@pytest.mark.parametrize(
    ("name", "ops"),
    [
        ("openvino", {"Convolution": 1, "FullyConnected": 1, "Relu": 0}),
        ("onnxruntime", {"Gemm": 1, "com.microsoft.nchwc:Conv": 1, "Relu": 0}),
    ],
)
def test_operators_are_those_that_the_runtime_executes(name, ops):
    result = asked(name, ops=ops)
    assert said(result) == ""
    assert result.measured.endswith(f"executes {', '.join(f'{op} {count}' for op, count in ops.items())}")
    executes = result.figures[f"runtime {name}"]["executes"]
    assert ops.items() <= (dict.fromkeys(ops, 0) | dict(executes)).items()


def test_another_count_fails_and_says_all_that_is_executed():
    result = asked("openvino", ops={"Reorder": 0})
    (finding,) = result.findings
    assert (finding.subject, finding.expected, finding.verdict) == ("Reorder", "0", Verdict.FAIL)
    assert finding.where[0].startswith("OpenVINO ")
    assert "executes Convolution 1, FullyConnected 1, Reorder " in finding.where[0]
    assert finding.next == f"If the change is meant, write 'Reorder': {finding.found} in ops."


def test_a_slip_in_a_name_is_an_error_although_its_bound_holds():
    result = asked("openvino", ops={"Reorderr": "<=2", "convolutions": 0})
    assert [finding.verdict for finding in result.findings] == [Verdict.ERROR, Verdict.ERROR]
    assert "It has Convolution 1; if that is the operator you mean, name it." in result.findings[1].next


@pytest.mark.parametrize(
    ("executed", "absent"), [("Reshape", "Shape"), ("ReduceMean", "ReduceMax"), ("Deconvolution", "Convolution")]
)
def test_an_operator_that_exists_is_no_slip_of_another_one(executed, absent):
    runtime = dataclasses.replace(onnxruntime.RUNTIME, executed=lambda path, how: {executed: 2})
    check = check_of_module(net, 1, 3, 8, 8)
    graph = ("optimized", check.graphs.optimized_path)
    result = operators(check, runtime, AT_DEFAULT_LEVEL, graph, {absent: parse_bound(0)})
    assert said(result) == ""
    assert result.measured == f"executes {absent} 0"


def test_the_graph_is_that_of_the_stage():
    text = said(asked("openvino", ops={"Reorder": 0}, stage="exported"))
    assert text.startswith("expect_runtime: Reorder expected 0, found 2 in net (exported, torchscript)")


def test_a_time_against_onnxruntime_that_is_met_is_shown_with_its_interval():
    result = asked("openvino", latency=">=0.001")
    assert said(result) == ""
    assert " against onnxruntime" in result.measured
    figures = result.figures["runtime openvino"]["latency"]
    assert figures["onnxruntime_ms"] > 0
    assert figures["openvino_ms"] > 0
    assert "text" in result.figures["runtime openvino"]


def test_a_time_that_is_missed_fails_with_both_times():
    result = asked("openvino", latency=">=1000")
    (finding,) = result.findings
    assert (finding.subject, finding.verdict) == ("latency", Verdict.FAIL)
    assert finding.where[0].startswith("onnxruntime ")
    assert ", OpenVINO " in finding.where[0]
    assert finding.next.startswith("See what the runtime executes (ops=)")


def test_without_onnxruntime_nothing_is_timed(monkeypatch):
    check = check_of_module(net, 1, 3, 8, 8)
    pytest.importorskip("openvino")
    gate = registered_gates()["expect_runtime"]
    expectation = parse("openvino", seeds=1, varied=False, latency=">=0.5")
    absent = dataclasses.replace(onnxruntime.RUNTIME, package="no_such_package")
    monkeypatch.setattr(
        runtimes, "RUNTIMES", tuple(absent if each.name == "onnxruntime" else each for each in RUNTIMES)
    )
    with pytest.raises(RuntimeMissingError, match=r"pip install 'pytest-modelcheck\[onnxruntime\]'"):
        gate.check(check, expectation)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "onnxruntime", "latency": ">=1"}, MarkerError, "latency compares with onnxruntime"),
        ({"name": "openvino", "latency": ">=0"}, BoundError, "always holds"),
        ({"name": "openvino", "latency": ">=5%"}, BoundError, "write a plain number"),
        ({"name": "openvino", "ops": {}}, MarkerError, "write operators with their counts"),
        ({"name": "openvino", "ops": ["Reorder"]}, MarkerError, "write operators with their counts"),
        ({"name": "openvino", "ops": {"Reorder": ">=0"}}, BoundError, "always holds"),
        ({"name": "openvino", "ops": {"Reorder": "5%"}}, BoundError, "write a plain number"),
    ],
)
def test_what_cannot_be_asked_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        parse(**arguments)


def test_a_runtime_that_does_not_say_what_it_executes_is_refused():
    with pytest.raises(MarkerError, match="does not say what it executes; those that do: onnxruntime, openvino"):
        registered_gates()["expect_runtime"].expectation(("reference",), {"ops": {"Add": 1}})
