"""Models in an unusual state: captured rightly, or refused with what to change; and left as they were found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.capture_modules import KeywordsOnly, NestedInput, WriteToBuffer, WriteToInput
from pytest_modelcheck.capture import Captured, CaptureFailure, CaptureFailureKind, How, capture, compare_outputs
from pytest_modelcheck.fusion import analyse
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import module_case

HOWS: tuple[How, ...] = ("export", "symbolic_trace")


def case_of(module: nn.Module, *inputs: torch.Tensor, **named: Any) -> ModelCase:
    return ModelCase("m", lambda: module, lambda seed: named or inputs)


def captured(case: ModelCase, how: How = "export") -> Captured:
    made = capture(case, how=how)
    assert isinstance(made, Captured), made.render()
    return made


def failure(case: ModelCase, how: How = "export") -> CaptureFailure:
    made = capture(case, how=how)
    assert isinstance(made, CaptureFailure)
    return made


class Attend(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.attention(x, x, x, need_weights=False)[0]
        return made


def test_a_forward_that_runs_and_has_no_such_output_is_not_what_fails() -> None:
    case = ModelCase("m", lambda: nn.Linear(2, 2), lambda seed: (torch.ones(1, 2),), output_names=("a", "b"))
    refused = failure(case)
    assert refused.kind is CaptureFailureKind.OUTPUTS_FAILED
    assert refused.next == "fix output_names="


# -- devices and dtypes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_a_module_on_another_device_than_its_inputs_is_refused_by_name(how: How) -> None:
    made = failure(case_of(Attend(device="meta"), torch.ones(1, 4, 16)), how)
    headline, *_, step = made.render().splitlines()
    assert headline == "capture of m failed (device_mismatch): the module is on meta and its inputs are on cpu"
    assert step == "  next:  let build() and inputs() put everything on one device"


def test_a_model_without_memory_has_the_structure_of_the_real_one_and_says_that_nothing_was_compared() -> None:
    report = analyse(captured(case_of(Attend(device="meta"), torch.ones(1, 4, 16, device="meta"))))
    real = analyse(captured(case_of(Attend(), torch.ones(1, 4, 16))))
    assert report.subgraphs == real.subgraphs
    assert report.flops == real.flops
    assert report.difference is None
    assert report.not_compared == "tensors on the meta device hold no values"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_captured_and_compared_in_its_own_precision(dtype: torch.dtype) -> None:
    report = analyse(captured(case_of(Attend().to(dtype), torch.randn(1, 4, 16, dtype=dtype))))
    assert (report.qkv, report.attention_layers) == (1, 1)
    assert report.difference is not None
    assert report.difference <= 10 * torch.finfo(dtype).eps


@pytest.mark.parametrize("how", HOWS)
def test_inputs_of_another_precision_are_refused_with_the_modules_dtype(how: How) -> None:
    made = failure(case_of(nn.Linear(16, 4).half(), torch.ones(2, 16)), how)
    assert made.kind is CaptureFailureKind.DTYPE_MISMATCH
    assert made.next == "let inputs() return tensors of the module's dtype (torch.float16)"


# -- hooks, modes, shared parts ---------------------------------------------------------------------------------------


def doubled(module: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def test_hooks_of_submodules_are_part_of_what_is_captured() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    module[0].register_forward_hook(doubled)
    for how in HOWS:
        made = captured(module_case(module, (2, 4)), how)
        assert compare_outputs((module(*made.inputs.values).detach(),), made.run()).agrees


@pytest.mark.parametrize("how", HOWS)
def test_a_hook_of_the_root_is_refused_where_the_graph_would_be_another(how: How) -> None:
    module = nn.Linear(4, 4).eval()
    module.register_forward_hook(doubled)
    made = failure(module_case(module, (2, 4)), how)
    assert made.kind is CaptureFailureKind.OTHER_RESULT
    assert made.reason.startswith("the captured graph computes something else than the module (difference ")
    assert "root module" in made.next


@pytest.mark.parametrize("how", HOWS)
def test_a_hook_of_the_root_that_only_looks_does_no_harm(how: How) -> None:
    module = nn.Linear(4, 4).eval()
    module.register_forward_hook(lambda module, args, output: None)
    captured(module_case(module, (2, 4)), how)


def test_a_model_in_training_mode_is_captured_without_its_dropout_and_trains_on() -> None:
    module = Attend(dropout=0.5).train()
    case = module_case(module, (1, 4, 16))
    made = capture(case, module=module)
    assert isinstance(made, Captured)
    assert analyse(made).difference is not None
    assert module.training
    assert module.attention.training
    assert not [node for node in made.graph.nodes if "dropout" in str(node.target)]


def test_a_module_that_is_called_twice_is_one_owner_with_two_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shared(torch.relu(self.shared(x)))

    report = analyse(captured(module_case(Twice().eval(), (2, 4))))
    linears = [(subgraph.owner, subgraph.call) for subgraph in report.subgraphs if subgraph.ops[-1] == "linear"]
    assert {call for _, call in linears} <= {0, 1}
    assert linears[-1] == ("shared", 1)


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made: torch.Tensor = self.second(self.first(x))
            return made

    module = Tied().eval()
    made = captured(module_case(module, (2, 4)))
    assert compare_outputs((module(*made.inputs.values).detach(),), made.run()).agrees


# -- inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("order", [("x", "scale"), ("scale", "x")])
def test_keyword_only_inputs_come_by_name_in_any_order(how: How, order: tuple[str, str]) -> None:
    tensors = {"x": torch.randn(3, 4), "scale": torch.randn(4)}
    made = captured(case_of(KeywordsOnly(), **{name: tensors[name] for name in order}), how)
    assert torch.equal(made.run()[0], tensors["x"] * tensors["scale"])


@pytest.mark.parametrize("how", HOWS)
def test_nested_dicts_are_handed_on_as_they_are(how: How) -> None:
    image, bias = torch.randn(3, 4), torch.randn(4)
    made = captured(case_of(NestedInput(), batch={"image": image, "extra": {"bias": bias}}), how)
    assert torch.equal(made.run()[0], image + bias)


def test_an_input_that_the_forward_does_not_take_is_a_signature_mismatch() -> None:
    made = failure(case_of(KeywordsOnly(), x=torch.ones(3, 4), scale=torch.ones(4), other=torch.ones(1)))
    assert made.kind is CaptureFailureKind.SIGNATURE_MISMATCH
    assert "other" in made.reason


# -- left as found ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOWS)
def test_buffers_and_inputs_that_a_forward_writes_are_left_as_they_were(how: How) -> None:
    module = WriteToBuffer().eval()
    made = capture(module_case(module, (3, 4)), how=how)
    assert module.calls.item() == 0
    if isinstance(made, Captured):
        first = made.run()
        assert torch.equal(first[0], made.run()[0])
        assert module.calls.item() == 0
    written = captured(module_case(WriteToInput().eval(), (3, 4)), how)
    before = written.inputs.values[0].clone()
    assert torch.equal(written.run()[0], written.run()[0])
    assert torch.equal(written.inputs.values[0], before)


def test_capturing_leaves_nothing_on_the_module() -> None:
    module = Attend().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    attributes = {name: set(vars(part)) for name, part in module.named_modules()}
    for how in HOWS:
        analyse(captured(module_case(module, (1, 4, 16)), how))
    assert {name: set(vars(part)) for name, part in module.named_modules()} == attributes
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
