"""Weights are drawn by name and shape, bit-equal everywhere, and given back."""

import math

import pytest
import torch

from pytest_modelcheck.calling.fingerprints import state_hashes, tensor_hash
from pytest_modelcheck.numbers.drawing import draw, drawable, drawn_weights


def drawn(key, shape, **how):
    made = torch.empty(shape)
    draw(key, made, **how)
    return made


def test_the_bits_are_fixed():
    """Of another numpy, torch, machine: a different hash here makes every record of every user red."""
    made = drawn("layers.0.norm.weight", (300, 1000), scale=0.1, offset=1.0)
    assert tensor_hash(made) == "bc10c21c7c3b2f9036f0aaf300d93454367592f7dcf524f73b956eeb4bb34ef4"
    assert made.flatten()[:3].tolist() == [0.9513521194458008, 0.9178401827812195, 0.8672497868537903]


def test_values_have_the_variance_and_the_mean_that_the_rule_says():
    made = drawn("x", (1000, 1000)).double()
    assert float(made.mean()) == pytest.approx(0, abs=3e-3)
    assert float(made.std()) == pytest.approx(1, abs=3e-3)
    assert float(made.abs().max()) <= math.sqrt(3)


@pytest.mark.parametrize(("key", "shape"), [("y", (8, 8)), ("x", (4, 16))])
def test_another_name_or_shape_gives_other_values(key, shape):
    assert not torch.equal(drawn("x", (8, 8)).flatten(), drawn(key, shape).flatten())


def test_a_size_that_is_no_multiple_of_four_or_of_the_chunk():
    assert torch.equal(drawn("x", (1 << 17,))[:5], drawn("x", (1 << 17,))[:5])
    for size in (1, 3, (1 << 17) + 1):
        assert torch.isfinite(drawn("x", (size,))).all()


class Everything(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.linear = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 4)
        self.conv, self.norm = torch.nn.Conv2d(4, 6, 3), torch.nn.BatchNorm2d(6)
        self.token = torch.nn.Parameter(torch.zeros(1, 1, 8))
        self.temperature = torch.nn.Parameter(torch.tensor(1.0))
        self.register_buffer("frequencies", torch.arange(4.0))
        self.register_buffer("steps", torch.arange(4))
        self.head = torch.nn.Linear(8, 50, bias=False)
        self.head.weight = self.table.weight


def test_each_kind_of_weight_has_its_scale_and_its_factor_in_the_quiet_probe():
    rules = {w.name: (round(w.scale, 4), w.offset, w.quiet) for w in drawable(Everything()).weights}
    assert rules == {
        "token": (0.5, 0.0, 1e-3),
        "temperature": (0.1, 0.5, 1.0),
        "table.weight": (1.0, 0.0, 1e-3),
        "linear.weight": (round(8**-0.5, 4), 0.0, 1.0),
        "linear.bias": (0.1, 0.0, 1e-3),
        "conv.weight": (round(36**-0.5, 4), 0.0, 1.0),
        "conv.bias": (0.1, 0.0, 1e-3),
        "norm.weight": (0.1, 1.0, 1e-3),
        "norm.bias": (0.1, 0.0, 1e-3),
        "norm.running_mean": (0.1, 0.0, 1e-3),
        "norm.running_var": (0.25, 1.0, 1e-6),
    }


def test_tied_weights_are_drawn_once_and_stay_tied():
    module = Everything()
    (table,) = [weight for weight in drawable(module).weights if weight.name == "table.weight"]
    assert table.aliases == ("head.weight",)
    with drawn_weights(drawable(module)):
        assert module.head.weight is module.table.weight


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_gets_its_own_memory_back(fails):
    module = Everything().half()
    before, places = state_hashes(module), {n: t.data_ptr() for n, t in module.named_parameters()}
    try:
        with drawn_weights(drawable(module)) as weights:
            assert module.linear.weight.dtype is torch.float32
            assert module.frequencies.dtype is torch.float32
            weights.wobble()
            weights.quieten()
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert state_hashes(module) == before
    assert {n: t.data_ptr() for n, t in module.named_parameters()} == places


def test_a_wobble_moves_every_drawn_value_by_1e_5_of_itself_then_the_other_way_then_in_another_direction():
    module = Everything()
    with drawn_weights(drawable(module)) as weights:
        drawn = module.linear.weight.detach().double().clone()
        moves = []
        for _ in range(4):
            weights.wobble()
            moves.append(module.linear.weight.detach().double() / drawn - 1)
    for move in moves:
        assert move.abs() == pytest.approx(torch.full_like(move, 1e-5), rel=0.04)
    first, opposite, second, last = (move.sign() for move in moves)
    assert torch.equal(opposite, -first)
    assert torch.equal(last, -second)
    assert not torch.equal(second, first)
    assert not torch.equal(second, opposite)
    assert torch.equal(first, first[:, :1].expand_as(first))
    assert torch.equal(second, second[:1].expand_as(second))


def test_integers_and_packed_weights_are_left_and_named():
    module = Everything()
    module.table.weight = torch.nn.Parameter(torch.arange(400).view(50, 8), requires_grad=False)
    module.head.weight = module.table.weight
    assert "table.weight" in drawable(module).left
