"""Files of a plain torchscript export: module paths in the names of nodes, read as deduced owners."""

import functools

import pytest
import torch
from torch import nn

from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.hierarchy import hierarchy_of_model, module_table, render


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.SiLU()

    def forward(self, x):
        return self.act(self.conv(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(Block(), nn.Sequential(Block(), Block()))
        self.layers = nn.ModuleList([Block(), Block()])
        self.shared = Block()

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.shared(self.shared(x)) + 1


@functools.cache
def table(build, folder):
    path = folder / "plain.onnx"
    torch.onnx.export(build().eval(), (torch.randn(1, 3, 8, 8),), str(path), dynamo=False, verbose=False)
    model = load_model(path)
    report = hierarchy_of_model(model)
    return report, render(module_table(model, report))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plain")


def test_the_call_stacks_in_the_names_are_module_paths(folder):
    report, text = table(Net, folder)
    assert text.splitlines() == [
        "(root): Add(#1=1) 1",
        "layers.[0-1].act x2: Mul 1, Sigmoid 1",
        "layers.[0-1].conv x2: Conv(kernel_shape=3|3;pads=1|1|1|1) 1",
        "shared.act: Mul 2, Sigmoid 2",
        "shared.conv: Conv(kernel_shape=3|3;pads=1|1|1|1) 2",
        "stem.0.act: Mul 1, Sigmoid 1",
        "stem.0.conv: Conv(kernel_shape=3|3;pads=1|1|1|1) 1",
        "stem.1.[0-1].act x2: Mul 1, Sigmoid 1",
        "stem.1.[0-1].conv x2: Conv(kernel_shape=3|3;pads=1|1|1|1) 1",
    ]
    assert (report.coverage, report.reason) == (1.0, "")


def test_they_are_a_deduction_and_the_precise_strategy_has_none(folder):
    report, _ = table(Net, folder)
    assert report.kinds == {"direct": 0, "inherited": report.compute_nodes, "root": 0, "none": 0}
    assert report.evidence == {"node name": report.compute_nodes}
    model = load_model(folder / "plain.onnx")
    assert hierarchy_of_model(model, strategy="precise").coverage == 0.0


@pytest.mark.parametrize("name", ["Conv_3", "/", "", "conv/Conv", "/conv/conv"])
def test_other_names_are_no_call_stack(folder, name):
    table(Net, folder)
    model = load_model(folder / "plain.onnx")
    for node in model.graph:
        node.name = name
    report = hierarchy_of_model(model)
    assert report.coverage == 0.0
    assert report.reason.startswith("no node names a module: ")
