"""``init``: the files it writes, what it leaves alone, and that the test it writes is green."""

import os
import subprocess
import sys

import pytest
import torch

from pytest_modelcheck.__main__ import main

pytestmark = pytest.mark.usefixtures("forked_python")

NET = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.GELU(), torch.nn.Linear(4, 2))

def inputs(seed):
    return (torch.randn(3, 4, generator=torch.Generator().manual_seed(seed)),)
"""


NOISY = (
    NET
    + """
class Noisy(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.rand(3, 2)

def build():
    return Noisy(4, 2)
"""
)

BROKEN = (
    NET
    + """
class Broken(torch.nn.Module):
    def forward(self, x):
        raise ValueError("no")

build = Broken
"""
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "init_model.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("init_model", None)


def test_one_command_writes_a_test_that_is_locked_green_and_reused(folder, capfd, monkeypatch):
    (folder / ".git").mkdir()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # an export sets it
    environment = dict(os.environ)
    assert main(["init", "init_model:build"]) == 0
    said = capfd.readouterr().out
    assert said.endswith(
        "commit: git add tests/test_init_model_export.py .github/workflows/modelcheck.yml pytest.ini .gitignore "
        "snapshots\n"
        "from now on: pytest --modelcheck tests/test_init_model_export.py\n"
    )
    test = (folder / "tests/test_init_model_export.py").read_text()
    assert "from init_model import build, inputs\n" in test
    assert "@pytest.mark.expect_accuracy(seeds=20)\n" in test
    assert '@pytest.mark.expect_hierarchy(coverage=">=95%")\n' in test
    assert (folder / ".gitignore").read_text() == ".modelcheck/\n"
    assert "pytest --modelcheck" in (folder / ".github/workflows/modelcheck.yml").read_text()
    again = subprocess.run(
        [sys.executable, "-m", "pytest", "--modelcheck", "--modelcheck-explain"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert again.returncode == 0, again.stdout
    assert "6 snapshots passed" in again.stdout
    assert "taken from an earlier run: export, passes, fusion, accuracy\n" in again.stdout


def test_nothing_that_is_there_is_overwritten(folder, capsys):
    (folder / "tests").mkdir()
    (folder / "tests/test_init_model_export.py").write_text("mine")
    assert main(["init", "init_model:build"]) == 2
    assert capsys.readouterr().err == (
        "error: tests/test_init_model_export.py exists already: name another file with --test, or delete it\n"
    )
    assert (folder / "tests/test_init_model_export.py").read_text() == "mine"
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\npythonpath = ['.']\n")
    (folder / "flow.yml").write_text("mine")
    assert main(["init", "init_model:build", "--no-run", "--test=test_other.py", "--workflow=flow.yml"]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "commit: git add test_other.py"
    assert not (folder / "pytest.ini").exists()
    assert (folder / "flow.yml").read_text() == "mine"


def test_a_gate_that_does_not_hold_is_said_and_gets_no_marker(folder, capsys):
    (folder / "init_model.py").write_text(NOISY)
    assert main(["init", "init_model:build", "--no-run"]) == 0
    assert "no marker is written for what does not hold today:\n" in capsys.readouterr().out
    assert "expect_accuracy" not in (folder / "tests/test_init_model_export.py").read_text()


def test_a_model_that_cannot_be_exported_leaves_no_file(folder, capsys):
    (folder / "init_model.py").write_text(BROKEN)
    assert main(["init", "init_model:build"]) == 2
    assert "ValueError: no" in capsys.readouterr().err
    assert not (folder / "tests").exists()
    assert not (folder / ".github").exists()


def test_a_file_gets_a_test_that_is_green_too(folder, capfd):
    net = torch.nn.Linear(4, 2)
    torch.onnx.export(net, (torch.ones(3, 4),), folder / "net.onnx", dynamo=False)
    assert main(["init", "net.onnx"]) == 0
    said = capfd.readouterr().out
    assert "1 passed" in said
    test = (folder / "tests/test_net_export.py").read_text()
    assert 'CASE = ModelCase.from_onnx(Path(__file__).parents[1] / "net.onnx")\n' in test
    assert "weights" not in test
    assert "commit: git add tests/test_net_export.py net.onnx " in said
    elsewhere = [sys.executable, "-m", "pytest", "--modelcheck", "-q", "test_net_export.py"]
    again = subprocess.run(elsewhere, cwd=folder / "tests", capture_output=True, text=True, check=False)
    assert "1 passed" in again.stdout, again.stdout
