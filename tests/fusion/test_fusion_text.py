"""The canonical text: what changes it, and what must not."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from pytest_modelcheck.capture import Captured, capture
from pytest_modelcheck.fusion import fusion_text, partition
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.snapshots.blocks import block_differences
from tests.structure_models import albert_case, bert_case, module_case


def text(case: ModelCase) -> str:
    made = capture(case)
    assert isinstance(made, Captured), made.render()
    return fusion_text(partition(made))


class Block(nn.Module):
    def __init__(self, extra: bool = False, approximate: str = "none") -> None:
        super().__init__()
        self.up, self.act, self.down = nn.Linear(8, 16), nn.GELU(approximate), nn.Linear(16, 8)
        self.extra = extra

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.down(self.act(self.up(x)))
        return (torch.tanh(hidden) if self.extra else hidden) + x


class Renamed(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        something_else = self.act(self.up(x))
        result = self.down(something_else)
        return result + x


class Stack(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def stack(blocks: list[nn.Module]) -> str:
    return text(module_case(Stack(blocks).eval(), (2, 8)))


def test_equal_layers_are_written_once_with_their_count() -> None:
    found = stack([Block() for _ in range(12)])
    assert "layers.[1-11]  x11\n  linear > gelu <- add\n  linear > add <- gelu, add\n" in found
    assert found.count("linear > gelu") == 2


def test_one_more_operator_in_layer_7_shows_as_layer_7_leaving_the_group() -> None:
    found = stack([Block(extra=index == 7) for index in range(12)])
    assert "layers.7\n" in found
    assert "8-11]" in found
    assert "tanh" in found


def test_renaming_variables_changes_nothing() -> None:
    assert stack([Block() for _ in range(3)]) == stack([Renamed() for _ in range(3)])


def test_a_changed_activation_variant_shows() -> None:
    before, after = stack([Block()]), stack([Block(approximate="tanh")])
    assert before != after
    assert "gelu[approximate=tanh]" in after


def test_no_floats_and_no_generated_names_are_in_the_text() -> None:
    found = text(bert_case())
    assert not re.search(r"\d\.\d", found.replace("encoder.layer.0.", "").replace("encoder.layer.1.", ""))
    assert not re.search(r"\b[a-z]+_\d+\b", found)


def test_bert_layers_fold_and_outputs_are_named() -> None:
    found = text(bert_case(layers=3))
    assert "encoder.layer.[0-2].attention.self  x3\n  linear | linear | linear <- layer_norm\n" in found
    assert found.endswith("outputs <- layer_norm, tanh\n")
    assert found.startswith("compute nodes ")


def test_calls_of_a_shared_module_are_told_apart_where_they_differ() -> None:
    found = text(albert_case())
    assert "each of 3 calls:" in found
    assert "call 0 of 3:" in found


class Pooled(nn.Module):
    """One linear over a part of the sequence, and a mask."""

    def __init__(self, index: int = 0, start: int = 1, diagonal: int = 1, view: bool = False, swapped: bool = False):
        super().__init__()
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)
        self.index, self.start, self.diagonal, self.view, self.swapped = index, start, diagonal, view, swapped

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.swapped:
            right, left = torch.relu(self.right(x)), torch.tanh(self.left(x))
        else:
            left, right = torch.tanh(self.left(x)), torch.relu(self.right(x))
        if self.view:
            left = left.view(left.shape)[:].expand(left.shape)
        mask = torch.triu(left @ right.transpose(1, 2), self.diagonal)
        return mask[:, self.index] + left[:, self.start :, 0].sum(1, keepdim=True)


def pooled(**options: int) -> str:
    return text(module_case(Pooled(**options).eval(), (2, 6, 8)))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"index": -1}, "select[dim=1 index=-1]"),
        ({"start": 2}, "slice[dim=1 start=2]"),
        ({"diagonal": 0}, "triu"),
        ({"diagonal": 2}, "triu[diagonal=2]"),
    ],
)
def test_constant_arguments_are_shown(options: dict[str, int], shown: str) -> None:
    assert shown in pooled(**options)
    assert pooled(**options) != pooled()


def test_what_does_nothing_is_left_out() -> None:
    assert pooled(view=True) == pooled()


def test_the_order_of_independent_nodes_changes_nothing() -> None:
    assert pooled(swapped=True) == pooled()


def test_one_operator_more_renumbers_no_other_row() -> None:
    class Chain(nn.Module):
        def __init__(self, extra: bool):
            super().__init__()
            self.extra = extra

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cumsum(x, 0)
            x = torch.flip(x, [1]) if self.extra else x
            return torch.cumprod(torch.sort(torch.roll(x, 1, 0))[0], 1)

    before, after = (text(module_case(Chain(extra), (4, 4))) for extra in (False, True))
    lines = [line for line in block_differences(before, after) if "compute nodes" not in line]
    assert lines[0] == "(root)"
    assert sorted(lines[1:]) == [
        "  + flip[dims=1] <- cumsum",
        "  + roll[shifts=1 dims=0] <- flip",
        "  - roll[shifts=1 dims=0] <- cumsum",
    ]


def test_the_text_does_not_depend_on_the_weights() -> None:
    torch.manual_seed(1)
    first = stack([Block()])
    torch.manual_seed(2)
    assert stack([Block()]) == first
