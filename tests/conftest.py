"""Fixtures of all tests: `project` is a small pytest project to run the plugin in."""

import sys

import pytest
from hypothesis import HealthCheck, settings

import pytest_modelcheck.pipeline  # noqa: F401 - else pytester forgets it after a test, and onnx cannot be loaded twice

pytest_plugins = ["pytester"]

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a loaded machine fails no test


@pytest.fixture(scope="session")
def everything_imported():
    """Load what a check loads lazily, once: pytester forgets modules that are first imported inside one of its runs."""
    import torch

    from pytest_modelcheck import ModelCase
    from pytest_modelcheck.bounds import parse_bound
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.gates.accuracy import measure_accuracy
    from pytest_modelcheck.gates.latency import GATE
    from pytest_modelcheck.report import json_file, rows, terminal  # noqa: F401 - loaded, not used
    from pytest_modelcheck.snapshots import assertion, extension  # noqa: F401 - loaded, not used

    case = ModelCase("warm", lambda: torch.nn.Linear(3, 2), lambda seed: (torch.randn(2, 3),), exporter="torchscript")
    check = ModelCheck(case, latency_budget=0.01)
    check.attribution, check.fusion, measure_accuracy(check, seeds=1)
    GATE.check(check, GATE.parse(">=0.01"))
    assert parse_bound("1").holds(1)


@pytest.fixture
def project(pytester, everything_imported, monkeypatch):
    from tests.harness import Project

    # An edit of the same length within the same second would find the bytecode of the file before it.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Project(pytester)


@pytest.fixture(autouse=True)
def not_a_worker(monkeypatch):
    """The runs inside a test are not xdist workers and not in CI, though the test may be: both are read from the
    environment, by syrupy and by the options."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID", "CI"):
        monkeypatch.delenv(name, raising=False)
