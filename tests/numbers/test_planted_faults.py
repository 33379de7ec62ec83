"""Faults planted in the source of small models are red and named; rewrites that keep the function are green."""

import pytest

from pytest_modelcheck.numbers import text, weights
from pytest_modelcheck.numbers.judging import judge
from tests.numbers.editing import edited, numbers, own_weights, recorded, recorded_weights
from tests.numbers.fault_rows import FAULTS, HARMLESS, WEIGHT_FAULTS


@pytest.mark.parametrize(("name", "network", "old", "new", "words"), FAULTS, ids=lambda value: str(value)[:24])
def test_a_fault_in_the_code_is_named(name, network, old, new, words):
    change = judge(recorded(network), numbers(edited(network, old, new)))
    assert change.found.startswith("the function ")
    assert words in change.found


@pytest.mark.parametrize("row", HARMLESS, ids=lambda row: row[0])
def test_a_rewrite_of_the_same_function_is_silent(row):
    _, network, *edits = row
    assert judge(recorded(network), numbers(edited(network, *edits))).found == ""


@pytest.mark.parametrize(("name", "network", "built", "statement", "rows"), WEIGHT_FAULTS)
def test_a_fault_in_the_weights_leaves_the_function_and_is_counted(name, network, built, statement, rows):
    case = edited(network, built, f"{built}    {statement}\n")
    assert judge(recorded(network), numbers(case)).found == ""
    change = weights.judge(recorded_weights(network), own_weights(case))
    assert change.found.startswith(f"the weights changed ({rows} of ")
    assert change.found.endswith(", the function is the same")


def test_another_checkpoint_gives_exactly_the_same_numbers():
    first, second = numbers(edited("encoder")), numbers(edited("encoder", "seeded(0)\n    with", "seeded(7)\n    with"))
    assert first == second


@pytest.mark.parametrize(
    ("edits", "found"),
    [
        (
            ("(2, LENGTH), generator=seeded(seed)), ", "(2, LENGTH), generator=seeded(seed)).int(), "),
            "input ids is now int32 [2,10], was int64 [2,10]; the function is the same",
        ),
        (
            ("torch.ones(2, LENGTH, dtype=torch.long)", "torch.ones(2, LENGTH, dtype=torch.bool)"),
            "input mask is now bool [2,10], was int64 [2,10]; the function is the same",
        ),
        (
            ('"hidden": x', '"states": x'),
            "output hidden is now states, with the same numbers; the function is the same",
        ),
        (
            (
                '{"hidden": x, "pooled": torch.tanh(self.pooler(x[:, 0]))}',
                '{"pooled": torch.tanh(self.pooler(x[:, 0])), "hidden": x}',
            ),
            "outputs are now in the order pooled, hidden; the function is the same",
        ),
        (
            ('{"hidden": x, "pooled"', '{"pooled"'),
            "output hidden is gone; the function is the same",
        ),
        (('ids": torch.randint(0,', 'ids": torch.randint(1,'), "other inputs: what they give cannot be compared"),
        (
            ("module = jittered(Encoder())\n", "module = jittered(Encoder()).double()\n"),
            "weights are now float64, were float32; the function is the same",
        ),
    ],
)
def test_changes_around_the_function_are_said_in_their_words(edits, found):
    assert judge(recorded("encoder"), numbers(edited("encoder", *edits))).found.startswith(found)


TIED = "module = jittered(Decoder())\n"
UNTIED = f"{TIED}    module.head.weight = nn.Parameter(module.words.weight.detach().clone())\n"


def test_a_tie_that_is_gone_or_new_is_said_although_the_values_are_equal():
    gone = judge(recorded("decoder"), numbers(edited("decoder", TIED, UNTIED)))
    assert gone.found == "head.weight is no longer tied to words.weight; the function is the same"
    new = judge(text.render(numbers(edited("decoder", TIED, UNTIED))), numbers(edited("decoder")))
    assert "head.weight is now tied to words.weight" in (new.found, *new.where)


@pytest.mark.parametrize(("moved", "red"), [(0.9, False), (1.2, True)])
def test_both_sides_of_the_tolerance_of_an_output(moved, red):
    """The record's rms is moved by a share of 1e-4 of it."""
    before = text.parse(recorded("segmenter")).outputs["classes"]["plain"].sketch.numbers[0]
    record = recorded("segmenter").replace(f"{before:.6g} ", f"{before * (1 + moved * 1e-4):.7g} ", 1)
    assert record != recorded("segmenter")
    assert bool(judge(record, numbers(edited("segmenter"))).found) is red


def test_the_lines_of_a_finding_give_distances_tolerances_and_structure():
    change = judge(recorded("decoder"), numbers(edited("decoder", "self.head(self.norm(x))", "self.head(x)")))
    assert change.where[0].startswith("output logits, plain: ")
    assert change.where[0].endswith(" of its rms (tolerance 1e-04)")
    assert change.where[-1] == "no longer called: norm"


def test_outputs_that_exchanged_their_values_are_recognised():
    pooled = "torch.tanh(self.pooler(x[:, 0]))"
    before = edited("encoder", f'{{"hidden": x, "pooled": {pooled}}}', f'{{"a": {pooled}, "b": 2 * {pooled}}}')
    after = edited("encoder", f'{{"hidden": x, "pooled": {pooled}}}', f'{{"a": 2 * {pooled}, "b": {pooled}}}')
    change = judge(text.render(numbers(before)), numbers(after))
    assert change.where[0].endswith(": the numbers that b had")


@pytest.mark.parametrize(
    ("edits", "stale"),
    [(("self.query", "self.q_proj"), True), (("nn.Dropout(0.1)", "nn.Dropout(0.3)"), False)],
)
def test_renamed_weights_make_the_record_stale_and_nothing_else(edits, stale):
    change = judge(recorded("encoder"), numbers(edited("encoder", *edits)))
    assert (change.found, change.stale) == ("", stale)


def test_a_renamed_weight_with_a_fault_is_red():
    change = judge(
        recorded("encoder"), numbers(edited("encoder", "self.query", "self.q_proj", "math.sqrt(SIZE)", "SIZE"))
    )
    assert change.found.startswith("the function changed, first at ")
    assert any(line.startswith("weights new: layers.0.attention.q_proj.weight") for line in change.where)


@pytest.mark.parametrize("record", ["nonsense", "[outputs]\nhidden float32 [2,x]", "[modules]\nwords: 1 | 2"])
def test_a_record_that_cannot_be_read_is_said(record):
    change = judge(record, numbers(edited("encoder")))
    assert change.found == "recorded rows that cannot be read"
    assert change.where[0].startswith("line ")
