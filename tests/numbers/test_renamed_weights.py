"""Weights that were renamed and are used in another order: the same function is found, or the question is said."""

import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.numbers.judging import judge
from pytest_modelcheck.numbers.text import render

QKV = ("query", "key", "value", "dense")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


class Attention(nn.Module):
    """Self-attention whose projections are called `names`, and computed in the order `order`."""

    def __init__(self, names, order):
        super().__init__()
        self.names, self.order = names, order
        for name in names:
            setattr(self, name, nn.Linear(8, 8))

    def forward(self, x):
        parts = {index: getattr(self, self.names[index])(x) for index in self.order}
        scores = parts[0] @ parts[1].transpose(1, 2) * 8**-0.5
        return getattr(self, self.names[3])(scores.softmax(-1) @ parts[2])


def numbers(names, order, change=lambda net: net):
    def build():
        return nn.Sequential(Attention(names, order), Attention(names, order))

    case = ModelCase("net", lambda: change(build()), lambda seed: (torch.randn(2, 5, 8),), exporter="torchscript")
    return ModelCheck(case).numbers


def test_names_that_are_alike_are_matched_where_the_order_of_calls_is_another():
    recorded = render(numbers(QKV, (1, 2, 0)))
    change = judge(recorded, numbers(PROJECTIONS, (0, 1, 2)))
    assert (change.found, change.stale) == ("", True)


def test_a_function_that_changed_beside_the_names_is_red_and_the_open_question_is_said():
    recorded = render(numbers(QKV, (1, 2, 0)))
    change = judge(recorded, numbers(PROJECTIONS, (0, 1, 2), lambda net: nn.Sequential(net, nn.Tanh())))
    assert change.found.startswith("the function changed")
    assert change.where[-1].startswith("16 weights have other names: no match of the new names with the old ones gave")
