"""expect_accuracy: a faithful export passes; NaN, another activation under export, and a bad pass do not."""

import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.accuracy import cause
from pytest_modelcheck.gates import MarkerError
from pytest_modelcheck.gates.accuracy import parse
from pytest_modelcheck.pipeline import resolve_passes
from tests.gate_checks import ask, check_of_module, said


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


class OtherUnderExport(Net):
    def forward(self, x):
        hidden = self.first(x)
        return self.last(torch.tanh(hidden) if torch.onnx.is_in_onnx_export() else torch.relu(hidden))


def test_a_model_that_exports_as_it_is_passes_and_says_what_was_measured():
    result = ask(check_of_module(Net, 2, 3), "expect_accuracy", seeds=2)
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.startswith("torch -> exported ")
    assert ", exported -> optimized " in result.measured
    assert result.measured.endswith(" over 7 seeds, 5 of them varied")
    result = ask(check_of_module(Net, 2, 3), "expect_accuracy", seeds=2, varied=False)
    assert result.measured.endswith(" over 2 seeds")


def test_no_tolerance_at_all_fails_where_the_runtime_rounds_otherwise_and_a_wide_one_passes():
    def build():
        return torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 8))

    check = check_of_module(build, 4, 64)
    assert ask(check, "expect_accuracy", atol=0.0, rtol=0.0, seeds=1).verdict is Verdict.FAIL
    assert ask(check, "expect_accuracy", atol=1e-4, rtol=0.0, seeds=1).verdict is Verdict.PASS


def test_a_module_that_is_another_one_under_export_fails_at_the_export():
    result = ask(check_of_module(OtherUnderExport, 2, 3), "expect_accuracy", seeds=2)
    assert result.verdict is Verdict.FAIL
    finding = result.findings[0]
    assert finding.subject == "output 'output_0'"
    assert "exported against torch, seed " in finding.context
    assert "The exporter changed the numbers, before any pass ran" in finding.next
    where = "\n".join(finding.where)
    assert "7 of 7 seeds, first seed 0" in where
    assert "Tanh '/Tanh' in the root module" in where
    assert "onnx's reference evaluator agrees with exported: the graph is at fault, not the runtime" in where


def test_the_second_opinion_on_a_graph_too_large_for_the_evaluator_is_openvinos(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(cause, "SMALL_NODES", 0)
    result = ask(check_of_module(OtherUnderExport, 2, 3), "expect_accuracy", seeds=2)
    where = "\n".join(result.findings[0].where)
    assert "OpenVINO agrees with exported: the graph is at fault, not the runtime" in where
    assert "onnx's reference evaluator" not in where


def test_a_nan_weight_fails_and_is_named():
    def build():
        net = Net()
        torch.nn.init.constant_(net.first.bias, float("nan"))
        return net

    result = ask(check_of_module(build, 2, 3), "expect_accuracy", seeds=1)
    assert result.verdict is Verdict.FAIL
    assert "NaN" in said(result)
    assert "first.bias" in said(result)


def test_one_weight_perturbed_after_the_export_fails():
    check = check_of_module(Net, 2, 3)
    assert ask(check, "expect_accuracy", seeds=1).verdict is Verdict.PASS
    check = check_of_module(Net, 2, 3)
    assert check.exported.path.is_file()
    with torch.no_grad():
        check.torch.module.last.weight[0, 0] += 1e-3
    assert ask(check, "expect_accuracy", seeds=1).verdict is Verdict.FAIL


def test_a_pass_that_changes_the_numbers_fails_at_the_passes():
    import onnx
    from onnx import numpy_helper

    def shrink(model):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        tensor = copy.graph.initializer[0]
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 0.5, tensor.name))
        return copy

    result = ask(check_of_module(Net, 2, 3, passes=[shrink]), "expect_accuracy", seeds=1)
    assert result.verdict is Verdict.FAIL
    assert [finding.next for finding in result.findings if "A pass changed the numbers" in finding.next]
    assert "optimized against exported" in said(result)


def test_a_failed_pass_is_an_error_because_there_is_no_optimized_graph():
    def broken(model):
        raise ValueError("mine")

    result = ask(check_of_module(Net, 2, 3, passes=[broken]), "expect_accuracy", seeds=1)
    assert result.verdict is Verdict.ERROR
    assert "pipeline: broken expected a valid graph, found ValueError: mine" in said(result)


def test_outputs_that_are_all_zero_measure_nothing():
    def build():
        net = Net()
        torch.nn.init.zeros_(net.last.weight)
        torch.nn.init.zeros_(net.last.bias)
        return net

    assert ask(check_of_module(build, 2, 3), "expect_accuracy", seeds=1).verdict is Verdict.ERROR


def test_a_tolerance_for_an_output_that_does_not_exist_is_an_error():
    check = check_of_module(Net, 2, 3, passes=resolve_passes(["fold_constants"]))
    result = ask(check, "expect_accuracy", atol={"logits": 1e-5}, seeds=1)
    assert result.verdict is Verdict.ERROR
    assert "'logits'" in said(result)
    assert ask(check, "expect_accuracy", atol={"output_0": 1e-5}, seeds=1).verdict is Verdict.PASS


def test_a_provider_that_is_not_here_measures_nothing_and_passes_nothing():
    check = check_of_module(Net, 2, 3, passes=resolve_passes(["fold_constants"]))
    result = ask(check, "expect_accuracy", seeds=1, provider="CUDA")
    if result.verdict is Verdict.PASS:
        pytest.skip("this onnxruntime has CUDA")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "expected outputs of CUDA, found nothing measured: this onnxruntime has no provider CUDA" in said(result)
    with pytest.raises(MarkerError, match="provider 'TPU' is unknown; choose CPU or CUDA"):
        parse(provider="TPU")
