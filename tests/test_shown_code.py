"""What the pages of passes, latency and strategies show is executed; every command that a page shows can be read."""

import re
import shlex
from typing import Any

import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.__main__ import _parser, main
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.options import OPTION_NAMES
from tests.test_documents import CONTRIBUTING, DOCS, README, code_blocks

PAGES = {"README.md": README, "CONTRIBUTING.md": CONTRIBUTING, **DOCS}
NET = """<ir_version: 8, opset_import: ["" : 18]>
net (float[batch,sequence,4] x) => (float[batch,sequence,4] y) <float[4] b = {1, 2, 3, 4}> {
 a = Identity (x)
 y = Add (a, b)
}"""


def commands(text, program):
    """The arguments of each call of a program that a page's console blocks show."""
    lines = [line for block in code_blocks(text, "console") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[len(program.split()) :] for line in lines if line.startswith(program)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ir.to_proto(ir.from_onnx_text(NET))
    for name in ("model", "bert", "before", "after"):
        onnx.save(model, tmp_path / f"{name}.onnx")
    return tmp_path


SHOWN = [
    pytest.param(arguments, id=f"{page} {' '.join(arguments)}"[:80])
    for page, text in PAGES.items()
    for arguments in commands(text, "python -m pytest_modelcheck")
]


@pytest.mark.parametrize("arguments", SHOWN)
def test_a_command_that_a_page_shows_can_be_read(arguments):
    assert _parser().parse_args(arguments).run


def test_options_of_pytest_that_pages_show_exist():
    shown = {word for text in PAGES.values() for call in commands(text, "pytest") for word in call if word[:3] == "--m"}
    known = {f"--{name.replace('_', '-')}" for name in OPTION_NAMES} | {"--modelcheck"}
    assert {word.partition("=")[0] for word in shown} - known == set()


@pytest.mark.parametrize("arguments", commands(DOCS["passes.md"], "python -m pytest_modelcheck"), ids=" ".join)
def test_the_commands_of_the_page_of_passes_run(folder, arguments, capsys):
    if "onnxslim" in " ".join(arguments):
        pytest.importorskip("onnxslim")
    assert main(arguments) == 0
    assert capsys.readouterr().out or (folder / arguments[-1]).is_file()  # strip writes its file and says nothing


def test_the_function_of_the_page_of_passes_optimizes(folder):
    (block,) = code_blocks(DOCS["passes.md"], "python")
    exec(block, {})
    assert [node.op_type for node in onnx.load("model.small.onnx").graph.node] == ["Add"]


def test_the_markers_of_the_page_of_latency_can_be_read():
    (block,) = code_blocks(DOCS["latency_gate.md"], "python")
    gate, read = registered_gates()["expect_latency"], []
    for arguments in re.findall(r"^@pytest\.mark\.expect_latency\((.*?)\) *#", block, flags=re.MULTILINE):
        kwargs = eval(f"dict({arguments})")
        read.append(gate.expectation((), kwargs, ()))
    assert len(read) == len(block.splitlines()) == len(set(map(repr, read)))


def test_what_the_page_of_strategies_shows_runs(folder):
    shipped, captured = code_blocks(DOCS["choosing_a_model_strategy.md"], "python")
    names: dict[str, Any] = {
        "ModelCase": ModelCase,
        "build": lambda: torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()),
        "inputs": lambda seed: (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed)),),
    }
    names["case"] = ModelCase("net", names["build"], names["inputs"])
    exec(shipped, names)
    assert names["SHIPPED"].onnx_path.name == "model.onnx"
    exec(captured, names)
    kinds = [[node.op for node in names[name].graph_module.graph.nodes] for name in ("captured", "traced")]
    assert "call_function" in kinds[0]
    assert "call_module" in kinds[1]
