"""torch.export of real models, and typed failures of modules that cannot be captured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pytest_modelcheck.calling import build_module, module_inputs, run_module
from pytest_modelcheck.capture import Captured, CaptureFailure, CaptureFailureKind, capture
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import albert_case, bert_case, cross_case, module_case, resnet_case

CASES = {"bert": bert_case, "albert": albert_case, "resnet": resnet_case, "cross": cross_case}


def captured(case: ModelCase, **options: str) -> Captured:
    made = capture(case, **options)  # type: ignore[arg-type]
    assert isinstance(made, Captured), made.render()
    return made


def failure(module: nn.Module, *shapes: tuple[int, ...], how: str = "export") -> CaptureFailure:
    made = capture(module_case(module.eval(), *shapes), how=how)  # type: ignore[arg-type]
    assert isinstance(made, CaptureFailure)
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_captured_model_computes_what_the_module_computes(name: str) -> None:
    case = CASES[name]()
    made = captured(case)
    module = build_module(case)
    expected = run_module(case, module, module_inputs(case, module, 0)).values()
    for got, wanted in zip(made.run(), expected, strict=True):
        assert torch.equal(got, wanted)


class Writing(nn.Module):
    """Reads a weight, a buffer that is not saved and a constant, and writes into a buffer and into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("offset", torch.full((4,), 3.0), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        x.mul_(2)
        return self.linear(x) + self.offset + torch.tensor([1.0, 2.0, 3.0, 4.0]), self.calls * x


def test_a_run_computes_what_a_writing_module_computes_and_leaves_it_as_it_was() -> None:
    module = Writing().eval()
    made = captured(module_case(module, (2, 4)))
    first, again = made.run(), made.run()
    with torch.no_grad():
        wanted = module(made.inputs.values[0].clone())
    assert module.calls == 1
    assert len(first) == len(wanted)
    for outputs in (first, again):
        assert all(map(torch.equal, outputs, wanted))


def test_linear_and_attention_stay_whole() -> None:
    names = {str(node.target) for node in captured(bert_case()).graph.nodes}
    assert "aten.linear.default" in names
    assert "aten.scaled_dot_product_attention.default" in names


def test_no_forward_is_left_on_the_users_module() -> None:
    module = nn.Linear(4, 4)
    captured(module_case(module, (2, 4)))
    assert "forward" not in vars(module)


def test_a_module_at_hand_in_training_mode_is_captured_in_eval_mode_and_trains_on() -> None:
    case = module_case(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout()), (2, 4))
    module = build_module(case).train()
    made = capture(case, module=module)
    assert isinstance(made, Captured)
    assert module.training
    module.eval()
    assert torch.equal(made.run()[0], module(*made.inputs.values))


def test_weights_are_shared_with_the_module() -> None:
    module = nn.Linear(4, 4).eval()
    made = captured(module_case(module, (2, 4)))
    assert made.program is not None
    assert made.program.state_dict["weight"].data_ptr() == module.weight.data_ptr()


def test_a_symbolic_trace_is_made_when_asked() -> None:
    made = captured(module_case(nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval(), (2, 4)), how="symbolic_trace")
    assert made.how == "symbolic_trace"
    assert [node.op for node in made.graph.nodes] == ["placeholder", "call_module", "call_module", "output"]


# -- failures -----------------------------------------------------------------------------------------------------


class IfOnValue(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


class RangeOverSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x
        for _ in range(x.size(0)):
            total = total + 1
        return total


@pytest.mark.parametrize("how", ["export", "symbolic_trace"])
def test_a_branch_on_a_value_is_data_dependent_and_its_line_is_named(how: str) -> None:
    made = failure(IfOnValue(), (2, 4), how=how)
    assert made.kind is CaptureFailureKind.DATA_DEPENDENT_CONTROL_FLOW
    assert made.where.endswith("if x.sum() > 0:")
    assert made.where.startswith("test_capture.py:")
    assert "torch.where" in made.next


def test_a_loop_over_a_size_fails_in_a_symbolic_trace_and_is_captured_by_export() -> None:
    made = failure(RangeOverSize(), (2, 4), how="symbolic_trace")
    assert made.kind is CaptureFailureKind.SHAPE_DEPENDENT_CONTROL_FLOW
    assert "how='export'" in made.next
    assert isinstance(capture(module_case(RangeOverSize(), (2, 4))), Captured)


def test_inputs_that_do_not_fit_the_signature_are_a_signature_mismatch() -> None:
    case = ModelCase("m", lambda: nn.Linear(4, 4), lambda seed: {"wrong_name": torch.ones(2, 4)})
    made = capture(case)
    assert isinstance(made, CaptureFailure)
    assert made.kind is CaptureFailureKind.SIGNATURE_MISMATCH
    assert "wrong_name" in made.reason


def test_inputs_of_a_wrong_shape_are_a_failed_forward() -> None:
    assert failure(nn.Linear(4, 4), (2, 5)).kind is CaptureFailureKind.FORWARD_FAILED


def test_a_build_that_raises_is_a_failed_build() -> None:
    def build() -> nn.Module:
        raise RuntimeError("no weights")

    made = capture(ModelCase("m", build, lambda seed: (torch.ones(1),)))
    assert isinstance(made, CaptureFailure)
    assert made.kind is CaptureFailureKind.BUILD_FAILED
    assert "no weights" in made.render()


def test_inputs_that_raise_are_failed_inputs() -> None:
    made = capture(ModelCase("m", lambda: nn.Linear(4, 4), lambda seed: ()))
    assert isinstance(made, CaptureFailure)
    assert made.kind is CaptureFailureKind.INPUTS_FAILED


def test_an_onnx_file_has_no_torch_module() -> None:
    made = capture(ModelCase.from_onnx("model.onnx"))
    assert isinstance(made, CaptureFailure)
    assert made.kind is CaptureFailureKind.NOT_A_MODULE
