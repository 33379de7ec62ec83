"""docs/writing_a_runtime.md, executed: its file is a runtime, and a gate runs a module in it."""

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, runtimes
from pytest_modelcheck.__main__ import main
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates.runtime import GATE, parse
from pytest_modelcheck.runtimes import RUNTIMES, How, RuntimeMissingError, SessionError, open_session

PAGE = (Path(__file__).parents[2] / "docs" / "writing_a_runtime.md").read_text(encoding="utf-8")
FILE, LINE, _ = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return torch.tanh(torch.relu(x @ self.weight))


@pytest.fixture
def plain(monkeypatch):
    namespace = {}
    exec(compile(FILE, "plain.py", "exec"), namespace)
    monkeypatch.setattr(runtimes, "RUNTIMES", (*RUNTIMES, namespace["RUNTIME"]))
    return namespace["RUNTIME"]


def test_the_line_of_the_page_lists_what_the_registry_lists():
    names = re.findall(r"(\w+)\.RUNTIME", LINE)
    assert [name.replace("_", "-") for name in names if name != "plain"] == [runtime.name for runtime in RUNTIMES]


def test_the_marker_of_the_page_passes_in_the_runtime_of_the_page(plain):
    check = ModelCheck(ModelCase("net", Net, lambda seed: (torch.randn(2, 3),), exporter="torchscript"))
    result = GATE.check(check, parse("plain", atol=1e-5, seeds=5))
    assert result.findings == ()
    assert "torch -> exported in NumPy" in result.measured


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_it_cannot_read_is_named(plain, content, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(content)
    with pytest.raises(SessionError, match=r"broken\.onnx: NumPy cannot load the model: "):
        open_session(tmp_path / "broken.onnx", How(runtime="plain"))


def test_a_file_with_its_weights_beside_it_runs(plain, tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }"""
    ir.save(ir.from_onnx_text(text), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    outputs = open_session(tmp_path / "m.onnx", How(runtime="plain")).run({"x": np.ones(2, np.float32)})
    assert outputs["y"].tolist() == [2, 3]


def test_what_it_lacks_is_named(plain):
    text = '<ir_version: 8, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Erf(x) }'
    with pytest.raises(SessionError, match="m: NumPy cannot load the model: no Erf") as caught:
        open_session(ir.from_onnx_text(text), How(runtime="plain"), name="m")
    assert caught.value.operators == ("Erf",)


def test_the_command_line_lists_it_and_says_how_to_install_what_is_not_here(plain, monkeypatch, capsys):
    absent = runtimes.Runtime(name="absent", package="no_such_package", install="pip install absent", open=None)
    monkeypatch.setattr(runtimes, "RUNTIMES", (*runtimes.RUNTIMES, absent))
    assert main(["runtimes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*(runtime.name for runtime in RUNTIMES), "plain", "absent"]
    assert re.fullmatch(r"plain +\d\S* on CPU", lines[-2])
    assert re.fullmatch("absent +not installed: pip install absent", lines[-1])
    with pytest.raises(RuntimeMissingError, match="absent is not installed: pip install absent"):
        absent.version()
