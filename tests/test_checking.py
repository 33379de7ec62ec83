"""`check_export`: the gates without pytest."""

import unittest

import pytest
import torch

from pytest_modelcheck import ModelCase, check_export
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.gates import MarkerError

GATES = {"expect_ops": {"Gemm": 2}, "expect_accuracy": {"seeds": 2}}


def net():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


class Doubled(torch.nn.Module):
    def forward(self, x, mask=None):
        return x * 2 if mask is None else torch.where(mask, x, x * 2)


def test_a_module_with_one_set_of_inputs():
    checked = check_export(net(), torch.ones(3, 4).cumsum(1), exporter="torchscript", gates=GATES)
    assert checked.passed
    assert checked.modelcheck.case.name == "Sequential"
    assert str(checked).startswith("expect_ops: Gemm 2\n\nexpect_accuracy: ")
    assert checked.modelcheck.attribution.nodes_after == 3
    checked.raise_if_failed()


def test_a_gate_that_fails_raises_with_its_finding():
    case = ModelCase("net", net, lambda seed: (torch.ones(3, 4),), exporter="torchscript")
    checked = check_export(case, gates={"expect_ops": {"Gemm": 3}})
    assert not checked.passed
    with pytest.raises(AssertionError, match=r"^expect_ops: Gemm expected 3, found 2 in net "):
        checked.raise_if_failed()
    assert [finding.found for finding in checked.findings] == ["2"]


def test_accuracy_alone_is_the_default_and_the_module_is_not_touched():
    module = net().train()
    checked = check_export(module, torch.ones(3, 4).cumsum(1), exporter="torchscript")
    assert [result.gate for result in checked.results] == ["expect_accuracy"]
    assert module.training


def test_fixed_inputs_are_shuffled_for_further_seeds_and_named_ones_keep_their_names():
    given = {"x": torch.arange(6.0).reshape(2, 3), "mask": torch.tensor([[True, False, True]])}
    checked = check_export(Doubled(), given, gates={"expect_accuracy": {"seeds": 3}})
    assert checked.passed, str(checked)
    inputs = checked.modelcheck.case.inputs
    assert torch.equal(inputs(0)["x"], given["x"])
    assert not torch.equal(inputs(1)["x"], inputs(2)["x"])
    assert torch.equal(inputs(1)["x"].flatten().sort().values, given["x"].flatten())


def test_a_file_and_a_case_are_taken_as_they_are(tmp_path):
    torch.onnx.export(net(), (torch.ones(3, 4),), tmp_path / "net.onnx", dynamo=False)
    assert check_export(tmp_path / "net.onnx", gates={"expect_ops": {"Gemm": 2}}).passed
    case = ModelCase("mine", net, lambda seed: (torch.ones(3, 4),), exporter="torchscript")
    assert check_export(case, gates={"expect_ops": {"Gemm": 2}}).modelcheck.case is case


def test_what_cannot_be_read_is_an_error_that_names_it():
    with pytest.raises(ModelCaseError, match="check_export: inputs are missing"):
        check_export(net())
    with pytest.raises(MarkerError, match="'expect_opps' is unknown; did you mean 'expect_ops'"):
        check_export(net(), torch.ones(3, 4), gates={"expect_opps": {}})
    with pytest.raises(MarkerError, match="gate 'ops' is unknown; choose from expect_"):
        check_export(net(), torch.ones(3, 4), gates={"ops": {}})


class InUnittest(unittest.TestCase):
    def test_net(self):
        checked = check_export(net, torch.ones(3, 4), exporter="torchscript", gates={"expect_ops": {"Relu": 1}})
        checked.raise_if_failed()
