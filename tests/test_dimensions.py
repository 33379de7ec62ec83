"""Sizes that follow from others, as `dynamic_axes` declares them."""

import pytest

from pytest_modelcheck.dimensions import check_axes, is_name, names_in, size_of
from pytest_modelcheck.errors import ModelCaseError

SIZES = {"past": 5, "sequence": 3, "height": 32}


@pytest.mark.parametrize(
    ("dimension", "names", "size"),
    [
        ("past", ("past",), 5),
        ("past + sequence", ("past", "sequence"), 8),
        ("past+sequence+past", ("past", "sequence"), 13),
        ("2 * height", ("height",), 64),
        ("height // 4 - 1", ("height",), 7),
        ("2 * (past + 1)", ("past",), 12),
    ],
)
def test_a_dimension_is_a_name_or_an_expression_of_names(dimension, names, size):
    assert names_in(dimension) == names
    assert size_of(dimension, SIZES) == size


@pytest.mark.parametrize(
    "dimension",
    [
        "",
        "3",
        "batch size",
        "a b",
        "a / 2",
        "a ** 2",
        "f(a)",
        "a.b",
        "a[0]",
        "-a",
        "a + 1.5",
        "a if b else c",
        "a +",
        3,
        None,
        "(" * 500 + "a" + ")" * 500,
    ],
)
def test_anything_else_cannot_be_read(dimension):
    with pytest.raises(ModelCaseError, match="cannot be read: write a name"):
        names_in(dimension)
    assert not is_name(dimension)


def test_a_division_by_zero_is_named():
    with pytest.raises(ModelCaseError, match="dimension 'past // sequence': integer division or modulo by zero"):
        size_of("past // sequence", {"past": 1, "sequence": 0})


def test_every_name_of_an_expression_is_a_dimension_of_its_own_somewhere():
    check_axes({"ids": {1: "sequence"}, "past": {2: "past"}, "mask": {1: "past + sequence"}})
    with pytest.raises(ModelCaseError, match="axis 1 of 'mask': 'past \\+ n' uses 'n', which no axis is named"):
        check_axes({"past": {2: "past"}, "mask": {1: "past + n"}})
