"""onnxruntime's profile, folded to modules: what ran, and who got slower."""

import numpy as np
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.latency import module_times, node_owners, slower_modules
from pytest_modelcheck.latency.op_profile import ModuleTime, fold


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Tanh()) for _ in range(3)
        )
        self.conv = torch.nn.Conv1d(8, 8, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return torch.relu(self.conv(x))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_the_time_of_a_run_goes_to_the_modules_of_the_nodes(exporter):
    check = ModelCheck(ModelCase("net", Net, lambda seed: {"x": torch.randn(1, 8, 32)}, exporter=exporter))
    times = module_times(
        check.graphs.optimized_path, {"x": np.ones((1, 8, 32), np.float32)}, node_owners(check.optimized)
    )
    assert times.keys() >= {"layers.*.*", "conv"}
    assert all(milliseconds > 0 for milliseconds in times.values())
    ours = sum(ms for module, ms in times.items() if not module.startswith("onnxruntime"))
    assert ours > 0.5 * sum(times.values())


def test_layers_are_folded_and_long_paths_cut():
    assert fold("encoder.layer.3.attention.self.query") == "encoder.layer.*.attention"
    assert fold("layers.0.1") == "layers.*.*"
    assert fold("") == "the root module"


def test_the_modules_that_lost_most_come_first_and_those_that_gained_are_left_out():
    a = {"one": 1.5, "two": 2.5, "new": 0.1, "same": 1.0, "faster": 0.5, "small": 1.01}
    b = {"one": 1.0, "two": 1.0, "gone": 1.0, "same": 1.0, "faster": 1.0, "small": 1.0}
    assert slower_modules(a, b) == (
        ModuleTime("two", 2.5, 1.0),
        ModuleTime("one", 1.5, 1.0),
        ModuleTime("new", 0.1, 0.0),
    )
    assert [str(time) for time in slower_modules(a, b)] == [
        "two +150 % (1.00 -> 2.50 ms)",
        "one +50 % (1.00 -> 1.50 ms)",
        "new new (0.00 -> 0.10 ms)",
    ]
    assert slower_modules(b, b) == ()
