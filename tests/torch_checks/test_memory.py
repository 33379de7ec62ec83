"""Counting bytes: against sums done by hand, and against the published figures of a BERT layer."""

import math
from fractions import Fraction

import pytest
import torch

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.memory import GrowthError, fit_growth, peak_memory

FLOAT = 4


class TwoSteps(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 16)

    def forward(self, x):
        y = self.linear(x)
        return torch.relu(y)


@pytest.mark.parametrize("rows", [1, 32, 1000])
def test_every_new_result_counts_and_inputs_and_weights_do_not(rows):
    used = peak_memory(TwoSteps(), (torch.zeros(rows, 8),))
    assert used.total == used.peak == 2 * rows * 16 * FLOAT  # y lives until relu is done
    assert not used.computed


def test_what_is_dropped_is_free_again():
    class Chain(torch.nn.Module):
        def forward(self, x):
            for _ in range(10):
                x = x + 1
            return x

    used = peak_memory(Chain(), {"x": torch.zeros(100)})
    assert used.total == 10 * 100 * FLOAT
    assert used.peak == 2 * 100 * FLOAT


def test_views_and_operations_in_place_allocate_nothing():
    class Free(torch.nn.Module):
        def forward(self, x):
            y = x * 2
            return y.view(10, 10).transpose(0, 1)[2:].add_(1).relu_()

    assert peak_memory(Free(), (torch.zeros(100),)).total == 100 * FLOAT


def test_the_dtype_counts():
    class Half(torch.nn.Module):
        def forward(self, x):
            return x.to(torch.bfloat16)

    assert peak_memory(Half(), (torch.zeros(100),)).total == 100 * 2


def test_nothing_is_computed_so_that_a_terabyte_can_be_counted():
    class Huge(torch.nn.Module):
        def forward(self, x):
            return (x[:, None] * x[None, :]).sum()

    assert peak_memory(Huge(), (torch.zeros(500_000),)).peak == 500_000**2 * FLOAT + FLOAT


def test_control_flow_that_reads_values_is_computed_and_counted_the_same_way():
    class Branch(torch.nn.Module):
        def forward(self, x):
            y = x + 1
            return y * 2 if y.sum() > 0 else y

    used = peak_memory(Branch(), (torch.ones(100),))
    assert used.computed
    assert used.total == 100 * FLOAT + FLOAT + 1 + 100 * FLOAT  # y, its sum, the bool, the result
    assert peak_memory(Branch(), (-2 * torch.ones(100),)).total == 100 * FLOAT + FLOAT + 1


def test_the_training_mode_and_the_weights_stay_as_they_were():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)).train()
    before = module[0].weight
    peak_memory(module, (torch.zeros(2, 4),))
    assert module.training
    assert module[0].weight is before
    assert type(before) is torch.nn.Parameter


def test_a_forward_that_raises_is_a_typed_error():
    with pytest.raises(ModelCaseError, match=r"the forward raised RuntimeError: .* must have same reduction dim"):
        peak_memory(TwoSteps(), (torch.zeros(3, 9),))


SIZES = (32, 64, 128, 256, 512)


@pytest.mark.parametrize(
    ("attention", "linear", "quadratic", "peaks"),
    [
        ("eager", 58384, 144, (933888, 1966080, 4325376, 10223616, 29884416)),
        ("sdpa", 55360, 0, (884736, 1769472, 3538944, 7077888, 14155776)),
    ],
)
def test_a_bert_layer_has_the_published_coefficients_and_predicts_larger_sizes_exactly(
    attention, linear, quadratic, peaks
):
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertLayer

    config = BertConfig()
    config._attn_implementation = attention
    layer = BertLayer(config)
    used = [peak_memory(layer, {"hidden_states": torch.zeros(1, size, 768)}) for size in SIZES]
    growth = fit_growth(SIZES[:3], [use.total for use in used[:3]])
    assert (growth.constant, growth.linear, growth.quadratic) == (0, linear, quadratic)
    assert [growth.at(size) for size in SIZES] == [use.total for use in used]
    assert tuple(use.peak for use in used) == peaks


# -- growth ---------------------------------------------------------------------------------------------------------


def test_a_polynomial_is_found_exactly():
    growth = fit_growth((1, 2, 3, 10), [7 + 5 * n + 3 * n * n for n in (1, 2, 3, 10)])
    assert (growth.constant, growth.linear, growth.quadratic, growth.residual) == (7, 5, 3, 0)
    assert str(growth) == "7 + 5*n + 3*n^2 bytes, exactly"


def test_what_is_no_parabola_has_a_residual():
    growth = fit_growth((1, 2, 3, 4), [n**3 for n in (1, 2, 3, 4)])
    assert growth.residual == 6
    assert "up to 6 bytes" in str(growth)


@pytest.mark.parametrize(("power", "exponent"), [(1, 1.0), (2, 2.0)])
def test_the_exponent_is_the_slope_at_the_largest_sizes(power, exponent):
    assert fit_growth(SIZES, [size**power for size in SIZES]).exponent == pytest.approx(exponent)


def test_coefficients_that_are_no_integers_stay_exact():
    growth = fit_growth((2, 4, 6), [1, 2, 3])
    assert growth.linear == Fraction(1, 2)
    assert growth.at(7) == Fraction(7, 2)
    assert math.isclose(growth.exponent, math.log(1.5) / math.log(1.5))


@pytest.mark.parametrize(
    ("sizes", "measured"), [((1, 2), (1, 2)), ((1, 1, 2), (1, 1, 2)), ((0, 1, 2), (1, 1, 1)), ((1, 2, 3), (1, 0, 1))]
)
def test_measurements_that_show_no_growth_are_refused(sizes, measured):
    with pytest.raises(GrowthError):
        fit_growth(sizes, measured)
