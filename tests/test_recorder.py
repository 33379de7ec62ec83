"""What is recorded, by whom, and that a run without model checks pays nothing."""

import gc
import os
import sys
import time

import pytest
import torch

from pytest_modelcheck import recorder
from pytest_modelcheck.recorder import owners, windows
from pytest_modelcheck.recorder import reads as recorded_reads
from pytest_modelcheck.store.manifest import Watch

CONFTEST = """
    import os
    from pytest_modelcheck.recorder import windows
    print("installed:", windows.installed, "stat:", os.stat.__name__ if hasattr(os.stat, "__code__") else "built in")
"""


@pytest.mark.parametrize(("enabled", "said"), [(False, "installed: False stat: built in"), (True, "installed: True")])
def test_it_is_installed_before_any_conftest_and_only_in_runs_with_model_checks(project, enabled, said):
    project.conftest(CONFTEST).test("def test_nothing(): pass")
    project.run("-s", modelcheck=enabled, subprocess=True).outcomes(passed=1).has(said)


def test_what_was_taken_and_why_not_more_is_said_on_request(project):
    project.gated("expect_ops(Gemm=2)")
    project.run().lacks("taken from an earlier run")
    project.run("--modelcheck-explain").has("net [torchscript]: taken from an earlier run: export")
    project.replace("net.py", "ReLU", "Tanh")
    run = project.run("--modelcheck-explain")
    run.has("net [torchscript]: taken from an earlier run: nothing", "exported now: source of net.py changed")


def test_a_cache_that_cannot_be_used_is_one_line_and_the_test_goes_on(project):
    project.gated("expect_ops(Gemm=2)").file("full", "")
    run = project.run("--modelcheck-cache=full").outcomes(passed=1)
    run.has(
        "results are not kept (choose another folder with --modelcheck-cache=DIR, or run with --modelcheck-no-cache): "
    )
    assert run.text.count("results are not kept") == 1


@pytest.fixture
def recorded():
    """Records what a function reads in a window."""
    recorder.install()

    def reads(read, **window):
        def build():
            raise NotImplementedError

        with windows.window(build, **window):
            read()
        return windows.recording_of(build)

    return reads


def test_a_read_in_a_window_belongs_to_it_with_its_owner(recorded, tmp_path):
    (tmp_path / "w.txt").write_text("1")
    recorded_reads.written.discard(str(tmp_path / "w.txt"))  # as if another process had written it
    read = recorded(lambda: (tmp_path / "w.txt").read_text()).reads
    assert ("file", str(tmp_path / "w.txt"), __file__) in read
    assert recorded_reads.seen["file", str(tmp_path / "w.txt")].owners == {__file__}


def test_what_another_file_reads_elsewhere_is_not_read_by_the_case_whose_library_reads_it_too(
    recorded, forked_python, tmp_path
):
    def read_all(file):
        exec(compile("dict(os.environ)", str(file), "exec"), {"os": os})

    def build():
        read_all(torch.__file__)

    read_all(tmp_path / "elsewhere.py")
    with windows.window(build):
        build()
    assert recorded_reads.seen["env", "*"].owners >= {torch.__file__, str(tmp_path / "elsewhere.py")}
    assert ("env", "*", torch.__file__) in windows.recording_of(build).reads
    assert "env *" not in Watch(build, {}).manifest().reads


def test_a_file_that_the_process_wrote_itself_is_no_read(recorded, tmp_path):
    (tmp_path / "out.txt").write_text("1")
    recorded(lambda: (tmp_path / "out.txt").read_text())
    assert str(tmp_path / "out.txt") in recorded_reads.written


def test_no_value_of_a_variable_is_kept(recorded, monkeypatch):
    monkeypatch.setenv("RECORDED_VALUE", "hunter2")
    assert ("env", "RECORDED_VALUE", __file__) in recorded(lambda: os.environ.get("RECORDED_VALUE")).reads
    assert "hunter2" not in repr(recorded_reads.seen)


def test_who_set_a_variable_is_known(recorded, monkeypatch):
    for file, expected in (("torch/x.py", True), ("_pytest/monkeypatch.py", False)):
        exec(compile("import os; os.environ['RECORDED_SET'] = '1'", f"/site-packages/{file}", "exec"))
        assert ("RECORDED_SET" in recorded_reads.set_by_torch) == expected
    monkeypatch.delenv("RECORDED_SET")


IMPORTED = """
import random
import sys
PROFILER = sys.getprofile()
def made():
    return random.random()
AT_IMPORT = made()
def called():
    return 1
"""


def test_an_import_runs_without_the_profiler_and_what_is_called_after_it_is_seen(recorded, tmp_path, monkeypatch):
    (tmp_path / "imported_in_a_window.py").write_text(IMPORTED)
    monkeypatch.syspath_prepend(tmp_path)

    def read():
        import imported_in_a_window  # type: ignore[import-not-found]  # the test writes it

        imported_in_a_window.called()

    recording = recorded(read)
    module = sys.modules.pop("imported_in_a_window")
    assert module.PROFILER is None
    assert module.called.__code__ in recording.ran
    assert module.made.__code__ not in recording.ran
    assert not recording.unrepeatable
    assert sys.getprofile() is None


def test_a_failed_import_in_a_window_has_the_traceback_of_python_and_ends_the_pause(recorded, tmp_path, monkeypatch):
    (tmp_path / "fails_in_a_window.py").write_text("raise ValueError('wrong')")
    monkeypatch.syspath_prepend(tmp_path)
    profilers = []

    def read():
        with pytest.raises(ValueError, match="wrong") as caught:
            import fails_in_a_window  # type: ignore[import-not-found]  # noqa: F401
        profilers.append(sys.getprofile())
        assert [frame.path.name for frame in caught.traceback] == ["test_recorder.py", "fails_in_a_window.py"]

    recorded(read)
    assert profilers[0] is not None


def test_another_profiler_makes_a_window_unrepeatable_and_keeps_its_place(recorded):
    def other(frame, event, argument):
        return None

    sys.setprofile(other)
    try:
        recording = recorded(lambda: None)
        assert sys.getprofile() is other
    finally:
        sys.setprofile(None)
    assert list(recording.unrepeatable) == ["another profiler is running: the code that ran was not seen"]


def test_what_the_garbage_collector_runs_belongs_to_no_window(recorded, tmp_path):
    class Left:
        def __init__(self):
            self.itself = self

        def __del__(self):
            (tmp_path / "left.txt").exists()

    def at_each_collection(phase, info):
        time.time()

    def leave_garbage():
        Left()

    def build():
        leave_garbage()
        kept.append([[] for _ in range(100_000)])  # enough for a collection

    kept: list[object] = []
    gc.callbacks.insert(0, at_each_collection)
    try:
        recording = recorded(build)
    finally:
        gc.callbacks.remove(at_each_collection)
    assert {code.co_name for code in recording.ran} & {"build", "leave_garbage", "at_each_collection", "__del__"} == {
        "build",
        "leave_garbage",
    }
    assert not recording.reads
    assert not recording.unrepeatable
    assert gc.isenabled()


def test_a_copy_of_the_recorder_that_sees_nothing_keeps_nothing(monkeypatch):
    monkeypatch.setattr(windows, "installed", False)
    assert list(windows.recording_of(len).unrepeatable) == [
        "a second copy of the recorder was imported, which sees nothing"
    ]


def test_paths_of_the_project_are_named_alike_in_every_checkout(monkeypatch):
    monkeypatch.setattr(owners, "root", "/home/me/checkout")
    assert owners.named("/home/me/checkout/net.py") == "{root}/net.py"
    assert owners.located("{root}/net.py") == "/home/me/checkout/net.py"
    assert owners.named("/elsewhere/net.py") == "/elsewhere/net.py"
