"""Reading markers of many tests: each once, and without what is heavy."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks import collection
from pytest_modelcheck.declarations import Declarations
from pytest_modelcheck.gates import MarkerError, registered_gates


@pytest.fixture
def declarations():
    return Declarations(SimpleNamespace(passes=()), None, registered_gates())


def test_a_mark_is_read_once_and_equal_marks_are_not_mixed_up(declarations):
    one, other = (pytest.mark.expect_ops(Gemm=count).mark for count in (2, 3))
    read = declarations._read(one)
    assert declarations._read(one) is read
    assert declarations._read(other).expectation != read.expectation
    assert declarations._read(pytest.mark.skip.mark) is None


def test_a_bad_mark_is_refused_each_time(declarations):
    bad = pytest.mark.expect_ops(Gem=1).mark
    for _ in range(2):
        with pytest.raises(MarkerError, match="did you mean 'Gemm'"):
            declarations._read(bad)


def test_collecting_marked_tests_loads_nothing_heavy(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "FILES", 1)
    monkeypatch.setattr(collection, "TESTS", 2)
    collection.write_project(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qs", "--modelcheck"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "loaded: [] tests: 20" in run.stdout, run.stdout + run.stderr
