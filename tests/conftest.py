"""Fixtures of all tests: `project` is a small pytest project to run the plugin in."""

import gc
import sys
from pathlib import Path

import pytest
from _pytest.pytester import SysModulesSnapshot
from hypothesis import HealthCheck, settings

pytest_plugins = ["pytester"]

LIBRARIES = (sys.prefix, sys.base_prefix, str(Path(__file__).parent.parent))
"""Where modules come from that outlive the run of pytester that imported them."""


def outlives(name):
    """Whether a module is none of the project that pytester runs."""
    known = getattr(sys.modules[name], "__dict__", {})  # not getattr: torch.ops and torch.classes make up what is asked
    places = [known.get("__file__") or "", *known.get("__path__", ())]
    return all(place.startswith(LIBRARIES) for place in places if place)


def snapshot(self, preserve=None, made=SysModulesSnapshot.__init__):
    made(self, outlives)


# pytester forgets all modules that its run imported first: those of torch, onnx and ours would be loaded a second time,
# beside objects whose classes are those of the first.
SysModulesSnapshot.__init__ = snapshot

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")  # a loaded machine fails no test


TOGETHER = (("tests/hierarchy/",), ("tests/capture/", "tests/fusion/", "tests/commands/test_fusion.py"))
"""Files whose tests share `exported_models` or `captured_models`: one worker makes them."""

FIRST = (
    "tests/test_models_page.py",
    "tests/benchmarks/test_kill_runs.py",
    "tests/report/test_several_machines.py",
    "tests/test_writing_a_gate.py",
    "tests/commands/test_init.py",
    "tests/test_six_changes.py",
)
"""Files of few tests that take long: xdist begins with files of many tests, and one worker would wait for the other."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """``--dist loadfile``, with some files together, and some first."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return next((places[0] for places in TOGETHER if file.startswith(places)), file)

        def _assign_work_unit(self, node):
            if first := next((file for file in FIRST if file in self.workqueue), None):
                self.workqueue.move_to_end(first, last=False)
            super()._assign_work_unit(node)

    return Together(config, log)


@pytest.fixture(scope="module", autouse=True)
def what_is_there_is_set_aside():
    """A collection of garbage looks through torch, transformers and all that earlier tests hold: a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def project(pytester, monkeypatch):
    from tests.harness import Project

    # An edit of the same length within the same second would find the bytecode of the file before it.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return Project(pytester)


@pytest.fixture(scope="module")
def forked_python():
    """Processes that the tests of a file start, and workers of xdist, find torch loaded: `tests.forking`."""
    from tests.forking import client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", client())
        yield


@pytest.fixture(autouse=True)
def not_a_worker(monkeypatch):
    """The runs inside a test are not xdist workers and not in CI, though the test may be: both are read from the
    environment, by syrupy and by the options."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID", "CI"):
        monkeypatch.delenv(name, raising=False)
