"""expect_state_roundtrip: the marker, its arguments, and what a test that carries it says."""

from pathlib import Path

import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import MarkerError, registered_gates
from tests.gate_checks import ask, check_of_module, said


def net():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


def torch_load(module, path):
    module.load_state_dict(torch.load(path, weights_only=True))


def test_a_module_passes_and_says_what_was_measured():
    check = check_of_module(net, 2, 3)
    result = ask(check, "expect_state_roundtrip")
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured == "4 entries, outputs of 3 seeds bit for bit; 12 of 12 bad files refused"
    assert result.figures["parity"] == {"state": result.measured}


def test_the_loader_that_everybody_writes_fails_and_says_how():
    result = ask(check_of_module(net, 2, 3), "expect_state_roundtrip", load=torch_load, seeds=1)
    assert result.verdict is Verdict.FAIL
    assert "expect_state_roundtrip: bad state files expected all 12 to raise a clear error" in said(result)
    assert "one flipped bit: loaded without an error, and 1 of 4 tensors of the module changed: 0.weight" in said(
        result
    )


def test_an_older_file_is_loaded(tmp_path):
    torch.save(net().state_dict(), tmp_path / "old.pt")
    result = ask(check_of_module(net, 2, 3), "expect_state_roundtrip", older=tmp_path / "old.pt")
    assert result.measured.endswith("; older: old.pt")
    torch.save({"0.weight": torch.ones(4, 3)}, tmp_path / "old.pt")
    result = ask(check_of_module(net, 2, 3), "expect_state_roundtrip", older=[str(tmp_path / "old.pt")])
    assert result.verdict is Verdict.FAIL
    assert "older state expected a file that loads" in said(result)


def test_a_model_that_is_only_a_file_is_an_error(tmp_path):
    result = ask(ModelCheck(ModelCase.from_onnx(tmp_path / "a.onnx")), "expect_state_roundtrip")
    assert (result.verdict, result.measured) == (Verdict.ERROR, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"older": "gone.pt"}, f"older='gone.pt': there is no file {Path('gone.pt').absolute()}"),
        ({"older": 3}, "older=3 must be a path or several"),
        ({"save": "save"}, "save='save' must be a function: save(module, path)"),
        ({"load": 1}, "load=1 must be a function: load(module, path)"),
        ({"seeds": 0}, "seeds=0 must be a whole number of at least 1"),
        ({"loads": 1}, "did you mean 'load'?"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_built(arguments, message):
    gate = registered_gates()["expect_state_roundtrip"]
    with pytest.raises(MarkerError) as error:
        gate.expectation((), arguments)
    assert message in str(error.value)


def test_a_test_with_the_marker_passes_and_fails(project):
    project.gated("expect_state_roundtrip").run().outcomes(passed=1)
    project.replace("net.py", "return self.last(self.act(self.first(x)))", "return self.hidden * self.last(x @ self.w)")
    project.replace("net.py", "self.act = torch.nn.ReLU()", "self.hidden, self.w = torch.randn(2), torch.randn(3, 4)")
    project.gated("expect_state_roundtrip").run().outcomes(failed=1).has(
        "expect_state_roundtrip: output 'output_0' after loading expected the bits of the original",
        "where: hidden: is not in the state and differs between the two",
    )


def test_an_older_file_that_is_not_there_ends_the_run_before_any_test(project):
    project.gated("expect_state_roundtrip(older='gone.pt')").run().bad_marker(
        f"test_it.py::test_net: expect_state_roundtrip: older='gone.pt': there is no file {project.path / 'gone.pt'}"
    )
