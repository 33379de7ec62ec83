"""The frame of a snapshot file, and what differs between two bodies."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelcheck.snapshots.attribution_text import differences
from pytest_modelcheck.snapshots.blocks import block_differences
from pytest_modelcheck.snapshots.text import compose, split, version_changes

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=8)
VERSIONS = st.dictionaries(NAMES, st.text(string.digits + ".", min_size=1, max_size=6), max_size=4)
ROWS = st.lists(st.text(string.ascii_letters + " :->+", max_size=20).map(lambda s: f"r{s}"), min_size=1, max_size=5)


@given(VERSIONS, ROWS)
def test_what_was_composed_is_taken_apart_again(versions, rows):
    text = compose("attribution", "the rule", versions, "\n".join(rows))
    assert split(text).versions == versions
    assert split(text).body == "\n".join(rows) + "\n"
    assert split(text.replace("\n", "\r\n")) == split(text)


@given(VERSIONS, VERSIONS, ROWS)
def test_the_body_does_not_depend_on_the_versions(one, other, rows):
    body = "\n".join(rows)
    assert split(compose("k", "r", one, body)).body == split(compose("k", "r", other, body)).body


def test_a_text_without_header_is_all_body():
    assert split("row\n").versions == {}
    assert split("row\n").body == "row\n"


@pytest.mark.parametrize(
    ("recorded", "now", "said"),
    [
        ({"torch": "2.12"}, {"torch": "2.13"}, "recorded with torch 2.12, now 2.13"),
        ({"torch": "2.13"}, {"torch": "2.13"}, ""),
        ({"b": "1", "a": "1"}, {"a": "2", "b": "2"}, "recorded with a 1, now 2; b 1, now 2"),
        ({}, {"torch": "2.13"}, ""),
        ({"gone": "1"}, {}, ""),
    ],
)
def test_versions_that_changed(recorded, now, said):
    assert version_changes(recorded, now) == said


BODY = """target: portable
nodes: 10 -> 8
constants: 0 -> 0
passes: fold_constants, eliminate_identity_ops, fuse_conv_batchnorm, broken

pass                             isolated in_order  status
eliminate_identity_ops                 -2       -2  fired
fuse_conv_batchnorm                     0        0  refused
  refused 2 x: the Conv output is used 2 times
broken                              error    error  error
  error: ValueError: mine
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nodes: 10 -> 8", "nodes: 10 -> 9", ("nodes: 10 -> 8, now 10 -> 9",)),
        ("constants: 0", "constants: 1", ("constants: 0 -> 0, now 1 -> 0",)),
        ("target: portable", "target: opset23", ("target: portable, now opset23",)),
        (
            "-2       -2  fired",
            "-2       -1  fired",
            ("eliminate_identity_ops: isolated -2, in order -2, fired, now isolated -2, in order -1, fired",),
        ),
        (
            "refused 2 x",
            "refused 3 x",
            ("fuse_conv_batchnorm: the Conv output is used 2 times: refused 2 x, now refused 3 x",),
        ),
        ("mine", "yours", ("broken: ValueError: mine: gone, was error", "broken: ValueError: yours: new, error")),
    ],
)
def test_each_kind_of_difference_of_an_attribution_is_named(old, new, said):
    assert old in BODY
    assert set(differences(BODY, BODY.replace(old, new))) == set(said)
    assert differences(BODY, BODY) == ()


def test_a_pass_that_came_or_went_is_named():
    row = "eliminate_identity_ops                 -2       -2  fired\n"
    without = BODY.replace(row, "").replace("eliminate_identity_ops, ", "")
    assert differences(without, BODY) == ("eliminate_identity_ops: new, isolated -2, in order -2, fired",)
    assert differences(BODY, without) == ("eliminate_identity_ops: gone, was isolated -2, in order -2, fired",)


def test_a_new_pass_that_does_nothing_is_no_difference_and_a_lost_one_is():
    without = BODY.replace("fold_constants, ", "")
    assert differences(without, BODY) == ()
    assert differences(BODY, without) == ("fold_constants: gone, was isolated 0, in order 0, no_op",)


def test_a_pass_without_a_row_did_nothing():
    row = "eliminate_identity_ops                 -2       -2  fired\n"
    fired, idle = "isolated -2, in order -2, fired", "isolated 0, in order 0, no_op"
    assert differences(BODY, BODY.replace(row, "")) == (f"eliminate_identity_ops: {fired}, now {idle}",)
    assert differences(BODY, BODY.replace("fold_constants, ", "")) == (f"fold_constants: gone, was {idle}",)


def test_a_text_of_0_1_with_a_row_for_every_pass_is_read():
    line = "passes: fold_constants, eliminate_identity_ops, fuse_conv_batchnorm, broken\n"
    row = "eliminate_identity_ops                 -2       -2  fired\n"
    old = BODY.replace(line, "").replace(row, "fold_constants   0   0  no_op\n" + row)
    assert differences(old, BODY) == ("passes: recorded by version 0.1 or older, with a row for every pass",)
    changed = differences(old.replace("-2  fired", "-1  fired"), BODY)
    assert changed == ("eliminate_identity_ops: isolated -2, in order -1, fired, now isolated -2, in order -2, fired",)


@given(ROWS, ROWS)
def test_two_block_texts_that_differ_have_a_difference_to_show(one, other):
    left, right = "\n".join(one) + "\n", "\n".join(other) + "\n"
    assert block_differences(left, left) == ()
    if sorted(one) != sorted(other):
        assert block_differences(left, right) != ()


def test_rows_of_a_block_are_shown_below_its_head():
    left = "layer x 2\n  Linear\n  GELU\n"
    assert block_differences(left, left.replace("GELU", "Tanh")) == ("layer x 2", "  - GELU", "  + Tanh")
    assert block_differences(left, left + "head\n  Linear\n") == ("+ head", "    Linear")
    assert block_differences(left + "head\n  Linear\n", left) == ("- head", "    Linear")
    counted = [f"nodes {count}\na\n  {row}\nb\n  Add\n" for count, row in ((7, "Mul"), (8, "Neg"))]
    assert block_differences(*counted) == ("- nodes 7", "+ nodes 8", "a", "  - Mul", "  + Neg")
    moved = ["x\n  Add\ngone\n  Neg\ny\n  Mul\n", "y\n  Mul\nx\n  Add\n"]
    assert block_differences(*moved) == ("- gone", "    Neg")


def test_a_block_of_the_same_rows_under_another_head_was_renamed() -> None:
    before, other = "attention  x2\n  Linear\nhead\n  Gelu\n", "attention  x2\n  Tanh\nhead\n  Gelu\n"
    after = before.replace("attention", "mixer")
    assert block_differences(before, after) == ("attention  x2 -> mixer  x2",)
    assert block_differences(other, after) == ("- attention  x2", "    Tanh", "+ mixer  x2", "    Linear")
    twice = before + "second\n  Linear\n"  # which of the two it was cannot be said
    assert not any("->" in line for line in block_differences(twice, after))
