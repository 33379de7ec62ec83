"""Which modules ran, from where, and which of them did nothing."""

import pytest
import torch
from torch import nn

from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.hierarchy import ModuleCalls
from pytest_modelcheck.hierarchy.recorded_calls import case_calls, modules_that_ran
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import module_case


class Net(nn.Module):
    """One block in a list, one called twice, one never called, and a Dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.ReLU())])
        self.twice = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.dropout(self.twice(self.twice(x)))


def calls_of(module: nn.Module, *shapes: tuple[int, ...]) -> ModuleCalls:
    return case_calls(module_case(module, *shapes))


def test_modules_are_listed_in_the_order_of_their_first_call() -> None:
    calls = calls_of(Net(), (2, 4))
    assert calls.ran == ("", "blocks.0", "blocks.1", "blocks.1.0", "blocks.1.1", "twice", "dropout")


def test_a_module_that_is_never_called_is_in_the_tree_and_did_not_run() -> None:
    calls = calls_of(Net(), (2, 4))
    assert calls.classes["never"] == "Linear"
    assert "never" not in calls.ran


def test_the_stack_of_a_child_holds_its_callers_and_not_the_list_between_them() -> None:
    assert ("", "blocks.1", "blocks.1.0") in calls_of(Net(), (2, 4)).stacks


def test_a_module_called_twice_from_one_place_is_one_stack_counted_twice() -> None:
    calls = calls_of(Net(), (2, 4))
    assert calls.counts["twice"] == 2
    assert calls.stacks["", "twice"] == 2


def test_dropout_in_eval_mode_and_identity_pass_their_input_through() -> None:
    calls = calls_of(nn.Sequential(nn.Identity(), nn.Linear(4, 4), nn.Dropout(0.5)), (2, 4))
    assert calls.passed_through == {"0", "2"}


def test_a_module_that_passes_through_in_one_call_and_works_in_the_next_did_work() -> None:
    class OnlyWide(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if x.shape[-1] > 4 else x

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = OnlyWide()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale(torch.cat([self.scale(x), x], -1))

    assert calls_of(Both(), (2, 4)).passed_through == frozenset()


def test_a_module_registered_under_two_names_goes_by_the_first() -> None:
    module = nn.Module()
    module.first = nn.Linear(4, 4)
    module.second = module.first
    module.forward = lambda x: module.second(x)  # type: ignore[method-assign]
    calls = calls_of(module, (2, 4))
    assert calls.ran == ("", "first")
    assert calls.parameters["second.weight"] == "first"


def test_no_hook_is_left_behind() -> None:
    module = Net()
    calls_of(module, (2, 4))
    assert not any(submodule._forward_hooks or submodule._forward_pre_hooks for submodule in module.modules())


def test_a_forward_that_raises_is_an_error_and_leaves_no_hook_behind() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 5))
    case = module_case(module, (2, 4))
    with pytest.raises(ModelCaseError, match="forward"):
        case_calls(case)
    assert not any(submodule._forward_hooks or submodule._forward_pre_hooks for submodule in module.modules())


def test_modules_called_by_keyword_are_seen_to_pass_their_input_through() -> None:
    class ByKeyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.identity = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.identity(input=x) + 1

    assert calls_of(ByKeyword(), (2, 4)).passed_through == {"identity"}


def test_a_model_called_with_keywords_is_recorded_like_any_other() -> None:
    module = nn.Module()
    module.inner = nn.Linear(4, 2)
    module.forward = lambda *, x: module.inner(x)  # type: ignore[method-assign]
    case = ModelCase("kw", lambda: module, lambda seed: {"x": torch.ones(1, 4)})
    built = build_module(case)
    assert modules_that_ran(case, built, module_inputs(case, built, 0)).ran == ("", "inner")


class Branches(nn.Module):
    """One branch that reaches the output, one that does not, one that depends on no input."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.dropped = nn.Linear(4, 4)
        self.positions = nn.Embedding(8, 4)
        self.in_place = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.dropped(x)
        y = self.used(x)
        self.in_place(y)
        return y + self.positions(torch.arange(4))


def test_modules_whose_work_reaches_no_output_and_modules_of_constants_are_told_apart() -> None:
    calls = calls_of(Branches(), (4, 4))
    assert calls.unused == {"dropped"}
    assert calls.constant == {"positions"}
    assert calls.accountable == ("", "used", "in_place")


def test_a_module_that_writes_into_a_part_of_a_tensor_is_used() -> None:
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            self.relu(y[:1])
            return y

    calls = calls_of(Halves(), (4, 4))
    assert calls.unused == frozenset()


def test_only_the_outputs_that_the_case_exports_count_as_used() -> None:
    module = nn.Module()
    module.a = nn.Linear(4, 4)
    module.b = nn.Linear(4, 4)
    module.forward = lambda x: {"first": module.a(x), "second": module.b(x)}  # type: ignore[method-assign]
    inputs = module_case(module, (2, 4)).inputs
    assert case_calls(ModelCase("m", lambda: module, inputs)).unused == frozenset()
    assert case_calls(ModelCase("m", lambda: module, inputs, output_names=("second",))).unused == {"a"}


def test_a_batchnorm_is_linked_to_the_module_whose_output_it_normalizes() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.BatchNorm2d(2)).eval()
    assert dict(calls_of(module, (1, 1, 3, 3)).norm_sources) == {"1": "0", "3": "2"}


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_scripted_module_is_part_of_its_caller() -> None:
    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.scripted(x))

    assert calls_of(Caller(), (2, 4)).ran == ("", "head")


def test_a_forward_that_refuses_dispatch_modes_is_recorded_without_data_flow() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
                raise NotImplementedError("no rule for this mode")
            return self.inner(x)

    calls = calls_of(Branch(), (2, 4))
    assert calls.accountable == ("", "inner")
    assert calls.trace == ()
