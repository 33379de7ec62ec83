"""A forward pass without its numbers tells the same as one with them, or is run again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from pytest_modelcheck.hierarchy import light_forward
from pytest_modelcheck.hierarchy.recorded_calls import case_calls
from pytest_modelcheck.model_case import ModelCase
from tests.structure_models import albert_case, bert_case, cross_case, module_case, resnet_case, swin_case


@pytest.fixture
def everything_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small models of these tests read few elements: let no number be computed all the same."""
    _skip_all(monkeypatch)


def _skip_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light_forward, "SKIPPED_FROM", 0)
    monkeypatch.setattr(light_forward, "SKIPPED_BY_RULE_FROM", 0)


@pytest.mark.parametrize("case", [bert_case, albert_case, resnet_case, cross_case, swin_case])
def test_calls_are_the_same_without_the_numbers(case: Callable[[], ModelCase], monkeypatch: pytest.MonkeyPatch) -> None:
    computed = case_calls(case())
    _skip_all(monkeypatch)
    assert case_calls(case()) == computed
    assert computed.trace


class Counting(nn.Module):
    """Runs its second layer only for large activations, asked in one of several ways."""

    def __init__(self, ask: Callable[[torch.Tensor], bool]) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.ask = ask
        self.runs = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        y = self.first(x) * 0 + 1
        return self.second(y) if self.ask(y) else y


def swallowed(y: torch.Tensor) -> bool:
    try:
        return bool(y.sum() > 0)
    except Exception:
        return False


@pytest.mark.parametrize(
    "ask",
    [
        lambda y: bool(y.sum() > 0),
        lambda y: y.sum().item() > 0,
        lambda y: y.detach().numpy().sum() > 0,
        lambda y: y.tolist()[0][0] > 0,
        lambda y: len(y[y > 0]) > 0,
        lambda y: len(torch.nonzero(y)) > 0,
        swallowed,
    ],
)
@pytest.mark.usefixtures("everything_skipped")
def test_a_forward_that_asks_for_a_number_is_run_again_with_it(ask: Callable[[torch.Tensor], bool]) -> None:
    module = Counting(ask)
    assert case_calls(module_case(module, (2, 4))).ran == ("", "first", "second")
    assert module.runs == 2


@pytest.mark.usefixtures("everything_skipped")
def test_a_forward_that_asks_for_a_number_of_its_inputs_runs_once() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)
            self.runs = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.runs += 1
            return self.inner(x) if bool((x < 1e9).all()) else x

    module = Masked()
    assert case_calls(module_case(module, (2, 4))).ran == ("", "inner")
    assert module.runs == 1


def test_small_operators_are_computed() -> None:
    x = torch.ones(4)
    assert light_forward.shaped_result(torch.ops.aten.relu.default, (x,), {}, [x]) is None


@pytest.mark.usefixtures("everything_skipped")
def test_views_writes_and_indices_are_computed_and_the_rest_has_its_shape() -> None:
    x = torch.ones(2, 3)
    aten = torch.ops.aten
    for func, args in ((aten.relu_.default, (x,)), (aten.t.default, (x,)), (aten.argmax.default, (x,))):
        assert light_forward.shaped_result(func, args, {}, [x]) is None
    made = light_forward.shaped_result(aten.cat.default, ([x, x],), {}, [x, x])
    assert made.shape == (4, 3)
    pair = light_forward.shaped_result(aten.native_layer_norm.default, (x, [3], None, None, 1e-5), {}, [x])
    assert [part.shape for part in pair] == [(2, 3), (2, 1), (2, 1)]


@pytest.mark.usefixtures("everything_skipped")
@pytest.mark.parametrize("arguments", [([1],), ([-1], True), ([0, -1],), ([-1, -2], True)])
def test_a_mean_has_the_shape_that_torch_gives_it(arguments: tuple[object, ...]) -> None:
    x = torch.ones(2, 3, 5)
    made = light_forward.shaped_result(torch.ops.aten.mean.dim, (x, *arguments), {}, [x])
    assert made.shape == x.mean(*arguments).shape
