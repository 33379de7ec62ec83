"""Sizes that follow from others: declared as expressions, exported, and drawn consistently by the sweep."""

import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy.size_variants import shape_variants
from pytest_modelcheck.calling import ModuleInputs, resized
from pytest_modelcheck.check import ModelCheck
from tests.gate_checks import ask, said

AXES = {
    "input_ids": {0: "batch", 1: "sequence"},
    "past": {0: "batch", 2: "past"},
    "mask": {0: "batch", 1: "past + sequence"},
}


class Decoder(torch.nn.Module):
    """One head of attention over the past and the new tokens; the mask covers both."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(20, 8)
        self.head = torch.nn.Linear(8, 20)

    def forward(self, input_ids, past, mask):
        hidden = self.embed(input_ids)
        keys = torch.cat([past[:, 0], hidden], 1)
        scores = hidden @ keys.transpose(1, 2) + (1.0 - mask)[:, None] * -1e4
        return self.head(scores.softmax(-1) @ keys), keys


class BakedTotal(Decoder):
    """The tracer takes the number of positions for the constant 8."""

    def forward(self, input_ids, past, mask):
        logits, keys = super().forward(input_ids, past, mask)
        return logits / len(mask[0].tolist()), keys


def inputs(seed):
    mask = torch.ones(2, 8)
    mask[1, :2] = 0
    return {"input_ids": torch.randint(0, 20, (2, 3)), "past": torch.randn(2, 1, 5, 8), "mask": mask}


def checked(build, exporter, axes=AXES):
    return ask(ModelCheck(ModelCase("decoder", build, inputs, exporter=exporter, dynamic_axes=axes)), "expect_accuracy")


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_decoder_whose_mask_covers_past_and_new_tokens_is_right_at_every_consistent_size(exporter):
    result = checked(Decoder, exporter)
    assert result.verdict is Verdict.PASS, said(result)


TOTAL = {**AXES, "mask": {0: "batch", 1: "total"}}


def test_a_mask_over_past_and_new_tokens_follows_them_under_a_name_of_its_own():
    result = checked(Decoder, "torchscript", TOTAL)
    assert result.verdict is Verdict.PASS, said(result)
    assert checked(BakedTotal, "torchscript", TOTAL).verdict is Verdict.FAIL


def test_a_mask_over_past_and_new_tokens_keeps_its_end():
    drawn = {"input_ids": torch.zeros(2, 3), "past": torch.zeros(2, 1, 5, 8), "mask": torch.ones(2, 8)}
    drawn["mask"][1, :2] = 0
    given = ModuleInputs(tuple(drawn), tuple(drawn.values()))
    (empty,) = [variant for variant in shape_variants(given, TOTAL) if variant.label == "past 0"]
    assert empty.apply(given, 0).as_dict()["mask"].tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_mask_of_a_decoding_step_covers_the_past_and_its_one_token():
    step = {"input_ids": torch.zeros(2, 1).long(), "past": torch.zeros(2, 1, 5, 8), "mask": torch.ones(2, 6)}
    step["mask"][1, :2] = 0
    axes = {"input_ids": {0: "batch"}, "past": AXES["past"], "mask": {0: "batch", 1: "total"}}
    given = ModuleInputs(tuple(step), tuple(step.values()))
    made = [variant.apply(given, 0).as_dict() for variant in shape_variants(given, axes)]
    assert {each["mask"].shape[1] - each["past"].shape[2] for each in made} == {1}
    (empty,) = [each for each in made if not each["past"].shape[2]]
    assert empty["mask"].tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("row", "left"),
    [
        ([0, 0, 0, 0, 1, 1], [0, 0, 1, 1]),  # its first four would see nothing
        ([0, 0, 0, 1, 1, 1], [0, 0, 0, 1]),
        ([1, 1, 0, 0, 0, 0], [1, 1, 0, 0]),
        ([0, 0, 0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
def test_a_row_of_a_mask_that_sees_something_still_does_when_it_is_shorter(row, left):
    drawn = {"input_ids": torch.zeros(2, 6), "mask": torch.tensor([[1] * 6, row])}
    axes = {"input_ids": {1: "sequence"}, "mask": {1: "sequence"}}
    given = ModuleInputs(tuple(drawn), tuple(drawn.values()))
    shorter = shape_variants(given, axes)[0].apply(given, 0).as_dict()["mask"]
    assert shorter.tolist() == [[1] * 4, left]


def test_a_mask_whose_size_is_no_sum_in_the_example_changes_alone():
    drawn = {"input_ids": torch.zeros(2, 3), "past": torch.zeros(2, 1, 5, 8), "mask": torch.ones(2, 9)}
    labels = [variant.label for variant in shape_variants(ModuleInputs(tuple(drawn), tuple(drawn.values())), TOTAL)]
    assert all("total " in label for label in labels[:2])
    drawn["mask"] = torch.ones(2, 8)
    labels = [variant.label for variant in shape_variants(ModuleInputs(tuple(drawn), tuple(drawn.values())), TOTAL)]
    assert not any("total " in label for label in labels)


def test_a_size_that_is_baked_in_is_still_found():
    result = checked(BakedTotal, "torchscript")
    assert result.verdict is Verdict.FAIL
    assert "only for inputs that the case does not draw: " in said(result)
    assert "past 0" in said(result)


def drawn():
    given = inputs(0)
    return ModuleInputs(tuple(given), tuple(given.values()))


def shapes(variant):
    changed = variant.apply(drawn(), 0).as_dict()
    return {name: tuple(tensor.shape) for name, tensor in changed.items()}


def test_the_sweep_draws_sizes_that_agree_down_to_no_past_and_one_token():
    variants = {variant.label: shapes(variant) for variant in shape_variants(drawn(), AXES)}
    for made in variants.values():
        (batch, sequence), past = made["input_ids"], made["past"][2]
        assert made["mask"] == (batch, past + sequence)
    assert variants["past 0"]["mask"] == (2, 3)
    assert variants["sequence 1"]["mask"] == (2, 6)
    assert len({made["mask"] for made in variants.values()}) == 5


@pytest.mark.parametrize(
    "axes",
    [
        {**AXES, "mask": {1: "past + sequence + 1"}},  # contradicts the example
        {**AXES, "mask": {1: "past + other"}},  # a name of which no axis tells the size
        {"input_ids": {0: "batch"}, "past": {0: "batch", 3: "unk__12?"}},
    ],
)
def test_sizes_that_cannot_be_derived_are_left_as_they_are(axes):
    assert shape_variants(drawn(), axes) == ()


def test_an_axis_that_is_resized_takes_what_follows_from_it_along():
    made = resized(drawn(), "sequence", 7, AXES).as_dict()
    assert made["input_ids"].shape == (2, 7)
    assert made["past"].shape == (2, 1, 5, 8)
    assert made["mask"].shape == (2, 12)


def test_repeated_floats_are_no_exact_ties():
    image = ModuleInputs(("image",), (torch.rand(1, 3, 8, 8) + 0.1,))
    for variant in shape_variants(image, {"image": {2: "height", 3: "width"}}):
        (made,) = variant.apply(image, 0).values
        assert made.unique().numel() >= made.numel() - 3  # a few values of thousands may meet
        assert made.min() > 0
        assert made.max() <= image.values[0].max()
