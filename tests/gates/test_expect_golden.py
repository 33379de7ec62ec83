"""expect_golden: the marker, its stages, and what a test that carries it says."""

import numpy as np
import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.gates import MarkerError, registered_gates
from pytest_modelcheck.golden import write_golden
from tests.gate_checks import ask, check_of_module, said


def net():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))


@pytest.fixture
def check():
    return check_of_module(net, 2, 3)


@pytest.fixture
def path(check, tmp_path):
    """What numpy makes of the module's weights, in float64."""
    state = {name: value.numpy().astype(np.float64) for name, value in check.torch.module.state_dict().items()}
    (x,) = (value.numpy() for value in check.torch.example.values)
    hidden = np.tanh(x @ state["0.weight"].T + state["0.bias"])
    write_golden(
        tmp_path / "net.golden.npz",
        producer="numpy, float64",
        versions={"numpy": np.__version__},
        weights=check.torch.module,
        inputs={0: check.torch.example.as_dict()},
        outputs={0: {"output_0": (hidden @ state["2.weight"].T + state["2.bias"]).astype(np.float32)}},
    )
    return tmp_path / "net.golden.npz"


@pytest.mark.parametrize("stage", ["torch", "exported", "optimized"])
def test_every_stage_can_be_compared(check, path, stage):
    result = ask(check, "expect_golden", path, stage=stage)
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.startswith(f"{stage} against numpy, float64 ")
    assert result.measured.endswith("over 1 seeds; 4 of 4 changed weights seen, 1 of 1 changed inputs seen")
    assert result.figures["parity"] == {"golden": result.measured}


def test_another_weight_is_an_error_and_measures_nothing(check, path):
    with torch.no_grad():
        check.torch.module[0].bias[0] += 1
    result = ask(check, "expect_golden", path)
    assert (result.verdict, result.measured) == (Verdict.ERROR, "")
    assert "expect_golden: weights expected those of the reference (4 entries, hash by hash), found 1 other" in said(
        result
    )


def test_a_damaged_file_is_an_error(check, path):
    path.write_bytes(path.read_bytes()[:-5])
    result = ask(check, "expect_golden", path)
    assert result.verdict is Verdict.ERROR
    assert "expect_golden: verdict expected a measurement, found " in said(result)
    assert "net.golden.npz: is damaged, or no .npz at all" in said(result)


def test_an_exported_graph_with_other_numbers_fails_while_the_module_passes(path):
    class Doubled(torch.nn.Sequential):
        def forward(self, input):
            made = super().forward(input)
            return made * 2 if torch.onnx.is_in_onnx_export() else made

    check = check_of_module(lambda: Doubled(*net()), 2, 3)
    assert ask(check, "expect_golden", path).verdict is Verdict.PASS
    result = ask(check, "expect_golden", path, stage="exported")
    assert result.verdict is Verdict.FAIL
    assert "(exported, seed 0, against numpy, float64)" in said(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": 3}, "path=3 must be the path of a golden file"),
        ({"path": "gone.npz"}, "path='gone.npz': there is no file "),
        ({"path": __file__, "stage": "onnx"}, "stage 'onnx' is unknown; choose torch, exported or optimized"),
        ({"path": __file__, "stage": "export"}, "stage 'export' is unknown; choose torch, exported or optimized"),
        ({"path": __file__, "atol": -1}, "atol=-1 must be a finite number of at least 0"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_built(arguments, message):
    gate = registered_gates()["expect_golden"]
    with pytest.raises(MarkerError) as error:
        gate.expectation((), arguments)
    assert message in str(error.value)


def test_a_test_with_the_marker_passes_and_fails(project, path, check):
    project.file("net.py", "").model(
        """
        import torch

        def build():
            return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))

        def inputs(seed):
            return (torch.randn(2, 3),)
        """
    )
    (project.path / "net.golden.npz").write_bytes(path.read_bytes())
    project.gated("expect_golden('net.golden.npz')").run().outcomes(passed=1)
    project.replace("net.py", "torch.nn.Tanh()", "torch.nn.ReLU()")
    project.gated("expect_golden('net.golden.npz')").run().outcomes(failed=1).has(
        "expect_golden: output 'output_0' expected float32[2, 2] with |difference| <= max(",
        f"reference: numpy, float64 (numpy {np.__version__})",
    )
