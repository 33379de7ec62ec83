"""Repeated layers written once: exact, and reversible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelcheck.hierarchy.folded_rows import escape, fold_rows, natural_key, unescape, unfold

ATOMS = st.one_of(
    st.integers(0, 13).map(str),
    st.sampled_from(["layer", "a", "00", "-1", "", "[0-2]", "(root)", "x 1", "naïve", "a/b", "\\20;", "٣", "²"]),
    st.text(max_size=4).filter(lambda text: "." not in text),
)
PATHS = st.lists(ATOMS, min_size=1, max_size=5).map(".".join)


def texts(*paths: str) -> list[str]:
    return [row.text for row in fold_rows((path, "same") for path in paths)]


@pytest.mark.parametrize(
    ("paths", "folded"),
    [
        (["layer.0", "layer.1", "layer.2"], ["layer.[0-2]"]),
        (["layer.0", "layer.2"], ["layer.[0,2]"]),
        (["layer.9", "layer.10", "layer.11", "layer.2"], ["layer.[2,9-11]"]),
        (["layer.7"], ["layer.7"]),
        (["a.0.b.0", "a.0.b.1", "a.1.b.0", "a.1.b.1"], ["a.[0-1].b.[0-1]"]),
        (["a.0.b.0", "a.0.b.1", "a.1.b.0"], ["a.0.b.[0-1]", "a.1.b.0"]),
        (["layer.00", "layer.1"], ["layer.1", "layer.00"]),
        ([""], ["(root)"]),
        (["layer.0", "other.0"], ["layer.0", "other.0"]),
    ],
)
def test_paths_that_differ_in_whole_numbers_fold(paths: list[str], folded: list[str]) -> None:
    assert texts(*paths) == folded


def test_rows_that_differ_do_not_fold() -> None:
    rows = fold_rows([("layer.0", "x"), ("layer.1", "y"), ("layer.2", "x")])
    assert [(row.text, row.row) for row in rows] == [("layer.[0,2]", "x"), ("layer.1", "y")]


def test_a_path_with_two_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' has two rows"):
        fold_rows([("a", 1), ("a", 2)])


@pytest.mark.parametrize("text", ["a.[", "a.[]", "a.[0-]", "a.[x]"])
def test_text_that_is_no_folded_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a folded index"):
        unfold(text)


@given(st.dictionaries(PATHS | st.none(), st.integers(0, 2), max_size=30))
def test_unfolding_gives_back_every_path_with_its_row(rows: dict[str | None, int]) -> None:
    folded = fold_rows(rows.items())
    assert {path: item.row for item in folded for path in unfold(item.text)} == rows
    assert all(unfold(item.text) == item.paths for item in folded)


@given(st.dictionaries(PATHS, st.integers(0, 2), max_size=30), st.randoms())
def test_folding_does_not_depend_on_the_order_of_the_rows(rows: dict[str, int], random: object) -> None:
    shuffled = list(rows.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold_rows(shuffled) == fold_rows(rows.items())


@given(st.text(), st.text(max_size=3))
def test_escaped_text_comes_back(text: str, special: str) -> None:
    if not set(special) & set("0123456789abcdef\\;"):
        assert unescape(escape(text, special)) == text


def test_layer_10_sorts_after_layer_9_and_no_module_last() -> None:
    assert sorted(["layer.10", None, "layer.9", ""], key=natural_key) == ["", "layer.9", "layer.10", None]
