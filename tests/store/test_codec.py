"""Results as JSON and back: equal, of the same types, and never a class of anybody else."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_modelcheck.accuracy import OutputStatus
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.store.codec import NotKeepableError, decode, encode

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text() | st.tuples(st.text(), st.integers()), inner)
        | st.frozensets(st.integers())
    ),
)
FINDING = Finding(gate="g", model="m", subject="s", expected="1", found="2", where=("a", "b"), verdict=Verdict.ERROR)


def through_a_file(value):
    return decode(json.loads(json.dumps(encode(value))))


@given(PLAIN)
def test_what_comes_back_is_equal_and_of_the_same_type(value):
    back = through_a_file(value)
    assert back == value
    assert type(back) is type(value)


def test_dataclasses_and_enums_of_the_package_come_back():
    back = through_a_file((FINDING, next(iter(OutputStatus))))
    assert back[0] == FINDING
    assert isinstance(back[0].verdict, Verdict)
    assert isinstance(back[1], OutputStatus)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_come_back(value):
    assert repr(through_a_file(value)) == repr(value)


class Stranger:
    pass


@pytest.mark.parametrize("value", [Stranger(), {1, 2}, b"bytes", [Stranger()], {"a": Stranger()}])
def test_a_value_that_would_not_come_back_is_refused(value):
    with pytest.raises(NotKeepableError, match="cannot be kept"):
        encode(value)


@pytest.mark.parametrize(
    "data",
    [
        {"subprocess:Popen": {"args": "true"}},
        {"pytest_modelcheck.errors:OptionError": {}},
        {"pytest_modelcheck.store.codec:decode": {"data": 1}},
        {"pytest_modelcheck.result:Finding": {"no_such_field": 1}},
        {"pytest_modelcheck.result:Finding": "gate"},
        {"pytest_modelcheck.nowhere:Finding": {}},
        {"os:O_RDONLY": "x"},
        {"pytest_modelcheck.result:Verdict": "MAYBE"},
        {"pytest_modelcheck.result:Verdict": {}},
        {"tuple": 1},
        {"dict": [[1, 2, 3]]},
        {"unknown": 1},
        {"tuple": [], "dict": []},
    ],
)
def test_a_file_can_name_no_code_to_run(data):
    with pytest.raises(NotKeepableError, match=r"cannot be read|is not a class of|is neither"):
        decode(data)
