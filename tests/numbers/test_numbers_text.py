"""The text of numbers and weights: what it looks like, and that reading gives back what was written."""

import dataclasses

import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.numbers import text, weights
from pytest_modelcheck.numbers.results import ModuleNumbers, Numbers, OutputNumbers
from pytest_modelcheck.numbers.sketch import Sketch
from tests.numbers.editing import edited, numbers, own_weights, recorded


def rounded(numbers):
    return text.parse(text.rows(numbers))


def test_one_row_per_module_group_in_the_order_of_calls():
    lines = recorded("encoder").split("[modules]\n")[1].splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "words (Embedding) weight[90,32]",
        "positions (Embedding) weight[64,32]",
        "norm (LayerNorm) weight,bias[32]",
        "layers.0 (EncoderLayer)",
        "layers.[0-1].attention.query (Linear) weight[32,32] bias[32] x2",
        "layers.[0-1].attention.key (Linear) weight[32,32] bias[32] x2",
        "layers.[0-1].attention.value (Linear) weight[32,32] bias[32] x2",
        "layers.[0-1].attention.out (Linear) weight[32,32] bias[32] x2",
        "layers.[0-1].norm1 (LayerNorm) weight,bias[32] x2",
        "layers.[0-1].up (Linear) weight[64,32] bias[64] x2",
        "layers.[0-1].down (Linear) weight[32,64] bias[32] x2",
        "layers.[0-1].norm2 (LayerNorm) weight,bias[32] x2",
        "pooler (Linear) weight[32,32] bias[32]",
    ]


def test_the_head_has_dtypes_ties_and_inputs():
    lines = recorded("decoder").splitlines()
    assert lines[:4] == ["dtypes: float32", "tied: head.weight = words.weight", "", "[inputs]"]
    assert lines[4].startswith("ids int64 [2,4]: ")
    assert lines[5].startswith("past float32 [2,2,2,2,6,8]: ")
    assert lines[7:9] == ["[outputs]", "logits float32 [2,4,90]"]
    assert lines[9].startswith("  plain: ")
    assert lines[10].startswith("  quiet: ")


@pytest.mark.parametrize("network", ["encoder", "segmenter", "decoder"])
def test_what_was_written_is_read_back(network):
    read = text.parse(recorded(network))
    assert text.rows(read) == recorded(network)
    assert read.weights.keys() == numbers(edited(network)).weights.keys()


def test_odd_names_and_values_survive():
    made = Numbers(
        inputs={"a b": Sketch(dtype="float32", shape=(2,), numbers=(1.0, 2.0), left_out=3)},
        outputs={
            "x:[0]": {
                "plain": OutputNumbers(sketch=Sketch(dtype="int64", shape=(), checksum="0000beef")),
                "quiet": OutputNumbers(sketch=Sketch(dtype="int64", shape=()), unlocked="random: it varies"),
            },
            "empty": {
                "plain": OutputNumbers(sketch=Sketch(dtype="float32", shape=(0, 3))),
                "quiet": OutputNumbers(sketch=Sketch(dtype="float32", shape=(0, 3)), tolerance=5e-4),
            },
        },
        modules={
            "": ModuleNumbers(class_name="Root", weights=(("w", (3,)),)),
            "a[0].b (c)": ModuleNumbers(
                class_name="Odd(1)",
                weights=(("w,1", (2, 3)), ("s", ())),
                numbers={("in", "plain"): (1.5, None), ("in", "quiet"): (1.5, 2.0)},
            ),
        },
        notes=("not locked: values; a reason",),
        tied={"head.0.w": "model.head.0.w", "head.1.w": "model.head.1.w", "out.weight": "words.table"},
    )
    assert rounded(made) == made
    assert "tied: head.[0-1].w = model.*\ntied: out.weight = words.table\n" in text.rows(made)


def test_a_file_is_locked_by_digests():
    made = Numbers(notes=("n",), files={"a.0.w": ("float32", (2,), "0" * 12), "a.1.w": ("float32", (2,), "1" * 12)})
    assert text.rows(made) == ("note: n\n\n[initializers]\na.[0-1].w float32 [2] x2: 000000000000 111111111111\n")
    assert rounded(made) == made


def test_weights_are_read_back():
    made = own_weights(edited("decoder"))
    body = weights.render(made)
    assert weights.render(weights.parse(body)) == body
    assert body.startswith("values: float32\n\n[function]\nlogits float32 [2,4,90]: ")
    assert "\nlayers.[0-1].n1.weight float32 [32] x2: " in body
    assert weights.judge(body, made).found == ""


@pytest.mark.parametrize(("relative", "red"), [(0.5e-5, False), (2e-5, True)])
def test_both_sides_of_the_tolerance_of_a_weight(relative, red):
    made = own_weights(edited("decoder"))
    row = made.rows["norm.weight"]
    moved = dataclasses.replace(row, numbers=(row.numbers[0] * (1 + relative), *row.numbers[1:]))
    now = dataclasses.replace(made, rows={**made.rows, "norm.weight": moved})
    assert bool(weights.judge(weights.render(made), now).found) is red


def test_weights_say_what_is_gone_new_rounded_and_of_another_dtype():
    before = own_weights(edited("decoder"))
    rows = dict(before.rows)
    rows["other"] = rows.pop("norm.weight")
    now = dataclasses.replace(before, rows=rows, values="float16")
    change = weights.judge(weights.render(before), now)
    assert change.found == "1 weight gone, 1 weight new, the function is the same"
    assert change.where == ("values are now float16 numbers", "gone: norm.weight", "new: other")
    outputs = {"logits": next(iter(before.outputs.values()))}
    untied = dataclasses.replace(before, rows={**before.rows, "other": rows["other"]}, function=outputs)
    change = weights.judge(weights.render(before), untied)
    assert change.found == "1 weight new"  # numbers drawn under another name say nothing of the function
    doubled = dataclasses.replace(rows["other"], numbers=tuple(2 * number for number in rows["other"].numbers))
    moved = dataclasses.replace(untied, rows={**before.rows, "norm.weight": doubled})
    change = weights.judge(weights.render(before), moved)
    assert change.found.endswith("the function changed, too")
    half = ModelCase("half", lambda: torch.nn.Linear(3, 2).half(), lambda seed: {"input": torch.ones(1, 3).half()})
    single = dataclasses.replace(half, build=lambda: torch.nn.Linear(3, 2))
    single = dataclasses.replace(single, inputs=lambda seed: {"input": torch.ones(1, 3)})
    change = weights.judge(weights.render(own_weights(single)), own_weights(half))
    assert change.found == "the weights changed (2 of 2), the function is the same"
    assert change.where[:2] == ("values are now float16 numbers", "weight: float16 [2, 3], was float32 [2, 3]")
