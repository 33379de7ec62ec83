"""Equal weights of a fresh module are not one: its export is that of the trained module, node for node."""

import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.interface import interface_of, interface_text, judge_interface


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.LayerNorm(16), nn.LayerNorm(16)
        self.up, self.out = nn.Linear(16, 16), nn.Linear(16, 16)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.out.weight)

    def forward(self, x):
        return self.last(x + self.out(torch.relu(self.up(self.first(x)))))


def fresh():
    return nn.Sequential(Block(), Block())


def trained():
    module = fresh()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += torch.randn(parameter.shape)
    return module


def exported(build, exporter):
    case = ModelCase("net", build, lambda seed: (torch.randn(2, 3, 16),), exporter=exporter)
    return ModelCheck(case).exported.model


def operators(model):
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_fresh_module_exports_as_a_trained_one(exporter):
    before, after = exported(fresh, exporter), exported(trained, exporter)
    assert operators(before) == operators(after)
    assert not judge_interface(interface_text(interface_of(before)), interface_of(after)).where
    assert not judge_interface(interface_text(interface_of(after)), interface_of(before)).where


def test_bytes_that_no_merging_explains_are_a_change():
    model = exported(trained, "torchscript")
    now = interface_of(model)
    (name, (fewest, most)), *_ = now.merged_bytes
    for count, same in ((fewest, True), (most, True), (0.94 * fewest, False), (1.07 * most, False)):
        recorded = interface_text(now).replace(f"{dict(now.bytes)[name]} B", f"{int(count)} B")
        assert (not judge_interface(recorded, now).where) == same


class Shared(nn.Module):
    """One layer called twice, and a second one with the weight of the first."""

    def __init__(self):
        super().__init__()
        self.rnn, self.one, self.two = nn.GRU(16, 16), nn.Linear(16, 16, bias=False), nn.Linear(16, 16, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(self.rnn(self.rnn(x)[0])[0]))


def test_what_the_module_shares_is_written_once():
    shapes = [tuple(value.shape) for value in exported(Shared, "torchscript").graph.initializers.values()]
    assert shapes.count((16, 16)) == 1
    assert shapes.count((1, 48, 16)) == 2  # input and hidden weights of one GRU
