"""ExecuTorch with XNNPACK: the module is converted; what has no kernel is named with its module.

Its environment is made by ``make runtimes``; where it is not there, these tests are skipped.
"""

import inspect
from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.accuracy import in_runtime
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates.gate import MarkerError
from pytest_modelcheck.gates.runtime import GATE, parse
from pytest_modelcheck.runtimes import FeedError, How, SessionError, open_session, runtime_named

EXECUTORCH = runtime_named("executorch")
installed = pytest.mark.skipif(not EXECUTORCH.installed, reason=f"executorch is not installed: {EXECUTORCH.install}")


class Block(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Net(torch.nn.Module):
    """A linear layer, which XNNPACK takes, and a block."""

    def __init__(self, function):
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.block = Block(function)

    def forward(self, x, ids):
        y = self.block(torch.relu(self.linear(x)))
        return {"y": y, "next_ids": ids + 1}


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(3, 4, generator=generator), "ids": torch.arange(3) + seed}


def checked(function, sizes=None, **arguments):
    axes = {"dynamic_axes": {"x": {0: "n"}, "ids": {0: "n"}}} if sizes is None else {"dynamic_shapes": sizes}
    case = ModelCase("net", lambda: Net(function), draw, **axes)
    return GATE.check(ModelCheck(case), parse("executorch", **arguments))


@installed
def test_a_module_agrees_and_its_delegated_operators_are_counted():
    ops = {"delegated subgraphs": 1, "delegated nodes": ">=2", "aten.flip": 1, "aten.sort": 0}
    result = checked(lambda x: torch.flip(x, (0,)), seeds=3, atol=1e-5, ops=ops)
    assert result.findings == ()
    assert "torch -> module in ExecuTorch" in result.measured
    assert "aten.flip 1, aten.sort 0" in result.measured
    assert result.figures["runtime executorch"]["executes"]["non-delegated nodes"] >= 1


BOUNDED = torch.export.Dim("n", max=8)


@installed
@pytest.mark.parametrize(("sizes", "varied", "most"), [(None, 7, 3), ({"x": {0: BOUNDED}, "ids": {0: BOUNDED}}, 8, 8)])
def test_dynamic_sizes_up_to_the_bound_or_the_example_are_run(monkeypatch, sizes, varied, most):
    opened = []

    def keep(*args, **kwargs):
        opened.append(open_session(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(in_runtime, "open_session", keep)
    result = checked(torch.sigmoid, sizes, seeds=3, atol=1e-5)
    assert result.findings == ()
    assert f"over {3 + varied} seeds, {varied} of them varied" in result.measured
    assert "at the sizes of the example" not in result.measured
    (session,) = opened
    assert [port.most for port in session.inputs] == [(most, 4), (most,)]
    assert session.run({"x": np.zeros((1, 4), np.float32), "ids": np.arange(1)})["y"].shape == (1, 4)
    with pytest.raises(FeedError, match=rf"input 'x' must have at most the sizes \[{most}, 4\], got \[9, 4\]"):
        session.run({"x": np.zeros((9, 4), np.float32), "ids": np.arange(9)})


class Branching(torch.nn.Module):
    """Its size decides what is computed, which torch.export takes for one size alone."""

    def forward(self, x):
        return torch.relu(x) if x.shape[0] == 3 else x


@installed
def test_sizes_that_torch_does_not_take_as_dynamic_are_fixed_and_said_so():
    case = ModelCase(
        "net", Branching, lambda seed: {"x": draw(seed)["x"]}, dynamic_axes={"x": {0: "n"}}, exporter="torchscript"
    )
    result = GATE.check(ModelCheck(case), parse("executorch", seeds=2))
    assert result.findings == ()
    assert "5 of them varied, at the sizes of the example: torch.export: Constraints violated (n)!" in result.measured


class Viewed(torch.nn.Module):
    """As GPT-2 does behind torch's attention, whose result ExecuTorch lays out differently."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(_attn_implementation="sdpa")

    def set_attn_implementation(self, chosen):
        self.config._attn_implementation = chosen if isinstance(chosen, str) else chosen[""]

    def forward(self, x):
        heads = x.unflatten(-1, (2, 4)).transpose(1, 2)
        if self.config._attn_implementation == "eager":
            attended = torch.softmax(heads @ heads.transpose(-1, -2) / 2, -1) @ heads
        else:
            attended = torch.nn.functional.scaled_dot_product_attention(heads, heads, heads)
        joined = attended.transpose(1, 2).flatten(2)
        return joined.view(-1, 8)


@installed
def test_the_line_that_a_conversion_stops_at_is_named_and_the_implementation_that_is_converted():
    case = ModelCase("net", lambda: Block(Viewed()), lambda seed: {"x": torch.rand(2, 3, 8)})
    (finding,) = GATE.check(ModelCheck(case), parse("executorch", seeds=1)).findings
    assert finding.found == (
        "ExecuTorch cannot load the model: ValueError: Cannot view a tensor with shape torch.Size([2, 3, 8]) "
        "and strides (8, 16, 1) as a tensor with shape (6, 8)!"
    )
    line = inspect.getsourcelines(Viewed)[1] + len(inspect.getsourcelines(Viewed)[0]) - 1
    assert finding.where == (f"aten.view in function (test_executorch.py:{line}, in forward)",)
    call = 'set_attn_implementation("eager") on the Viewed'
    assert finding.next == f"Call {call} in build(): ExecuTorch loads the module then."


@installed
def test_an_operator_without_a_kernel_is_named_with_its_module():
    def determinant(x):
        return torch.linalg.det(x.unsqueeze(-1) * x.unsqueeze(-2) + torch.eye(4)).unsqueeze(-1)

    (finding,) = checked(determinant, seeds=1).findings
    assert finding.found == "aten._linalg_det: no such operator"
    assert finding.where[0].startswith("aten._linalg_det in block (test_executorch.py:")
    assert finding.next == "Write these modules in operators that ExecuTorch has."


@torch.library.custom_op("mine::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x):
    return torch.empty_like(x)


@installed
def test_an_operator_of_ones_own_is_named(tmp_path):
    check = ModelCheck(ModelCase("net", lambda: Block(twice), lambda seed: {"x": torch.ones(2)}))
    program = check.torch.save_program(tmp_path / "model.pt2")
    with pytest.raises(
        SessionError, match=r"net: ExecuTorch cannot load the model: ExecuTorch has no mine\.twice"
    ) as caught:
        open_session(program, How(runtime="executorch"), name="net")
    assert caught.value.operators == ("mine.twice",)


@installed
def test_a_difference_names_the_runtime_and_what_another_one_says():
    (finding,) = checked(torch.sigmoid, seeds=1, atol=1e-12, rtol=1e-12).findings
    assert "module in ExecuTorch" in f"{finding.subject} {finding.context}"
    assert any("agrees with" in line for line in finding.where), finding.where
    assert not any("not explained" in line for line in finding.where), finding.where


@installed
def test_a_graph_is_refused():
    graph = ir.from_onnx_text('<ir_version: 8, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }')
    with pytest.raises(SessionError, match="net: ExecuTorch cannot load the model: it converts torch modules"):
        open_session(graph, How(runtime="executorch"), name="net")


def test_a_stage_of_the_graph_is_refused_before_anything_is_exported():
    with pytest.raises(MarkerError, match="stage='exported': ExecuTorch converts the torch module, not a graph"):
        GATE.validate(parse("executorch", stage="exported"), ())
