"""Weights that were renamed and are used in another order: the same function is found, or the question is said."""

import pytest
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

    @staticmethod
    def inputs(seed):
        return (torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed)),)

    def forward(self, x):
        parts = {index: getattr(self, self.names[index])(x) for index in self.order}
        scores = parts[0] @ parts[1].transpose(1, 2) * 8**-0.5
        return getattr(self, self.names[3])(scores.softmax(-1) @ parts[2])


def numbers(names, order, change=lambda net: net):
    def build():
        return nn.Sequential(Attention(names, order), Attention(names, order))

    case = ModelCase("net", lambda: change(build()), Attention.inputs)
    return ModelCheck(case).numbers


def test_names_that_are_alike_are_matched_where_the_order_of_calls_is_another():
    recorded = render(numbers(QKV, (1, 2, 0)))
    change = judge(recorded, numbers(PROJECTIONS, (0, 1, 2)))
    assert (change.found, change.stale) == ("", True)


class Layer(nn.Module):
    """Residual attention and projection behind norms: all weights are (8, 8) or (8,).

    Args:
        names: Of the attention's four projections, as in `Attention`.
        order: In which the attention computes them.
        rest: Names of the norms and of the projections behind the attention.
    """

    def __init__(self, names, order, rest):
        super().__init__()
        self.rest, self.attention = rest, Attention(names, order)
        for name, kind in zip(rest, (nn.LayerNorm, nn.LayerNorm, lambda width: nn.Linear(width, width)), strict=True):
            setattr(self, name, kind(8))

    def forward(self, x):
        first, second, mlp = (getattr(self, name) for name in self.rest)
        x = x + self.attention(first(x))
        return x + mlp(second(x)).tanh()


class Stack(nn.Module):
    def __init__(self, name, layers, called=(0, 1)):
        super().__init__()
        self.name, self.called = name, called
        outer, _, inner = name.rpartition(".")
        setattr(self, outer or inner, nn.ModuleDict({inner: nn.ModuleList(layers)}) if outer else nn.ModuleList(layers))

    def forward(self, x):
        layers = self.get_submodule(self.name)
        for index in self.called:
            x = layers[index](x)
        return x


def stack(name, names, order, rest, called=(0, 1)):
    case = ModelCase(
        "net", lambda: Stack(name, [Layer(names, order, rest) for _ in range(2)], called), Attention.inputs
    )
    return ModelCheck(case).numbers


BEFORE, AFTER = ("norm_before", "norm_after", "dense"), ("norm_before", "norm_after", "fc")


def test_whole_layers_are_matched_where_stack_modules_and_order_of_calls_have_other_names():
    recorded = render(stack("encoder.layer", QKV, (1, 2, 0), BEFORE))
    change = judge(recorded, stack("layers", PROJECTIONS, (0, 1, 2), AFTER))
    assert (change.found, change.stale) == ("", True)


def test_names_that_say_nothing_are_matched_in_the_order_of_calls():
    recorded = render(stack("encoder.layer", QKV, (1, 2, 0), BEFORE))
    change = judge(recorded, stack("layers", ("v", "q", "k", "e"), (1, 2, 0), ("g", "b", "a")))
    assert (change.found, change.stale) == ("", True)


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(("layers", PROJECTIONS, (0, 1, 2), AFTER, (1, 0)), id="layers"),
        pytest.param(("layers", ("query", "key", "dense", "value"), (0, 1, 2), BEFORE), id="projections"),
        pytest.param(("layers", PROJECTIONS, (0, 1, 2), ("norm_after", "norm_before", "fc")), id="norms"),
    ],
)
def test_renamed_modules_that_took_each_others_places_are_red(now):
    recorded = render(stack("encoder.layer", QKV, (1, 2, 0), BEFORE))
    change = judge(recorded, stack(*now))
    assert change.found.startswith("the function changed")
    assert "no match of the new names with the old ones gave the recorded numbers" in change.where[-1]


def test_a_function_that_changed_beside_the_names_is_red_and_the_open_question_is_said():
    recorded = render(numbers(QKV, (1, 2, 0)))
    change = judge(recorded, numbers(PROJECTIONS, (0, 1, 2), lambda net: nn.Sequential(net, nn.Tanh())))
    assert change.found.startswith("the function changed")
    assert change.where[-1].startswith("16 weights have other names: no match of the new names with the old ones gave")


class Scaled(nn.Module):
    """``function(x)`` times one weight, which is called `name`."""

    def __init__(self, name, function):
        super().__init__()
        self.name, self.function = name, function
        self.register_parameter(name, nn.Parameter(torch.ones(8)))

    def forward(self, x):
        return self.function(x) * getattr(self, self.name)


def test_one_weight_is_spoken_of_as_one():
    def of(name, function):
        return ModelCheck(ModelCase("net", lambda: Scaled(name, function), Attention.inputs)).numbers

    change = judge(render(of("scale", torch.sin)), of("gain", torch.cos))
    assert change.where[-1].startswith("1 weight has another name: no match")
