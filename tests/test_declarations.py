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


def item_with(*marks):
    return SimpleNamespace(
        iter_markers=lambda: iter(marks), nodeid="test_it.py::test_net", fixturenames=("modelcheck",)
    )


def test_marks_are_read_once_and_equal_marks_are_not_mixed_up(declarations):
    one, other = (pytest.mark.expect_ops(Gemm=count).mark for count in (2, 3))
    read = declarations.of(item_with(one))
    assert declarations.of(item_with(one)) is read
    assert declarations.of(item_with(other))[0].expectation != read[0].expectation
    assert declarations.of(item_with(one, other)) == (*declarations.of(item_with(other)), *read)
    assert declarations.of(item_with(pytest.mark.skip.mark)) == ()


def test_a_bad_mark_is_refused_each_time(declarations):
    bad = item_with(pytest.mark.expect_ops(Gem=1).mark)
    for _ in range(2):
        with pytest.raises(MarkerError, match="did you mean 'Gemm'"):
            declarations.of(bad)


def test_collecting_marked_tests_loads_nothing_heavy(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "FILES", 1)
    monkeypatch.setattr(collection, "TESTS", 2)
    collection.write_project(tmp_path)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qs", "--modelcheck"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "loaded: [] tests: 20" in run.stdout, run.stdout + run.stderr
