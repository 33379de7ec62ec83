"""The little language of expectations: what reads, what holds on each side of its boundary, what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelcheck import bounds
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.errors import BoundError


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (72, [72], [71, 73]),
        ("72", [72], [71.999, 72.001]),
        (">=5%", [5, 100], [4.999, -5]),
        (">0", [1, 0.001], [0, -1]),
        ("<4", [3.999, -1], [4, 5]),
        ("<=4", [4, 0], [4.001]),
        ("==4", [4], [3, 5]),
        ("60..80", [60, 70, 80], [59.999, 80.001]),
        ("60 .. 80", [60, 80], [59, 81]),
        ("-3..-1", [-3, -1], [-4, 0]),
        ("12/12", [12], [11, 13]),
        ("1e-5", [1e-5], [1.1e-5]),
        (0.5, [0.5], [0.49]),
    ],
)
def test_a_bound_holds_up_to_its_boundary_and_not_beyond(text, inside, outside):
    bound = parse_bound(text)
    assert all(bound.holds(value) for value in inside)
    assert not any(bound.holds(value) for value in outside)


@pytest.mark.parametrize("text", ["72", ">=5%", "<4", "60..80", "12/12"])
def test_no_bound_holds_for_nan(text):
    assert not parse_bound(text).holds(math.nan)


def test_percent_and_denominator_are_part_of_the_bound():
    assert parse_bound(">=5%").percent
    assert parse_bound("5..6%").percent
    assert not parse_bound("5").percent
    assert parse_bound("11/12").whole == 12


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (">=5%%", "bound '>=5%%' cannot be read; write a number (72), a comparison ('>=5%', '<4'), a range"),
        ("", "bound '' cannot be read"),
        ("=> 5", "bound '=> 5' cannot be read"),
        ("5 nodes", "bound '5 nodes' cannot be read"),
        ("80..60", "bound '80..60' is empty: 80 is above 60"),
        ("nan", "bound 'nan' cannot be read"),
        (math.nan, "bound nan can never be compared"),
        (math.inf, "bound inf can never be compared"),
        (True, "bound True is a bool"),
        (None, "bound None is a NoneType"),
        ([5], "bound [5] is a list"),
    ],
)
def test_an_unreadable_bound_is_named_with_the_way_out(value, message):
    with pytest.raises(BoundError) as caught:
        parse_bound(value)
    assert str(caught.value).startswith(message)


@given(st.integers(-10_000, 10_000), st.integers(-10_000, 10_000))
def test_comparisons_agree_with_python(limit, value):
    assert parse_bound(f">={limit}").holds(value) == (value >= limit)
    assert parse_bound(f">{limit}").holds(value) == (value > limit)
    assert parse_bound(f"<={limit}").holds(value) == (value <= limit)
    assert parse_bound(f"<{limit}").holds(value) == (value < limit)
    assert parse_bound(limit).holds(value) == (value == limit)


@given(st.text(max_size=12))
def test_any_text_either_reads_or_is_refused_as_a_bound_error(text):
    try:
        bound = parse_bound(text)
    except BoundError:
        return
    assert bound.low <= bound.high


@pytest.mark.parametrize(
    ("domain", "bound"),
    [
        *((bounds.COUNT, text) for text in (">=0", ">-1", ">=-5", "0..1e999", "-3..1e999")),
        *((bounds.SHARE, text) for text in (">=0", ">=0%", ">=-5%", "<=100%", "<101%", "0..100%", "-1..200%")),
        *((bounds.REMOVED, text) for text in ("<=100%", "<101%")),
        *((bounds.CHANGE, text) for text in (">=-100%", ">-101%")),
    ],
)
def test_a_bound_that_always_holds_is_refused(domain, bound):
    with pytest.raises(BoundError, match=r"always holds: what is measured is .*; write one that can fail"):
        parse_bound(bound, domain)


@pytest.mark.parametrize(
    ("domain", "bound"),
    [
        *((bounds.COUNT, text) for text in ("-5", "<0", "<=-1", "-3..-1")),
        *((bounds.SHARE, text) for text in (">101%", ">100%", "101..200%", "<0%", "13/12")),
        *((bounds.REMOVED, text) for text in (">100%", "101%")),
        *((bounds.CHANGE, text) for text in ("<-100%", "-150%")),
    ],
)
def test_a_bound_that_never_holds_is_refused(domain, bound):
    with pytest.raises(BoundError, match="never holds"):
        parse_bound(bound, domain)


@pytest.mark.parametrize(
    ("domain", "bound"),
    [
        *((bounds.COUNT, text) for text in ("0", "<=0", ">0", "0..3", "<1", "0/0", "12/12")),
        *((bounds.SHARE, text) for text in ("0", "100%", ">=100%", ">0%", "<100%", "<=0%", "0..99%")),
        *((bounds.REMOVED, text) for text in (">=0", "<0", ">=-5%", ">=100%", "<100%")),
        *((bounds.CHANGE, text) for text in ("<=5%", ">-100%", "<=-50%")),
        *((bounds.ANY, text) for text in (">=0", "-5", "<=200%", ">=-1%")),
    ],
)
def test_a_bound_that_can_hold_and_can_fail_is_taken(domain, bound):
    assert parse_bound(bound, domain).text == bound
