"""What is recorded, by whom, and that a run without model checks pays nothing."""

import os
import sys

import pytest

from pytest_modelcheck import recorder

CONFTEST = """
    import os
    from pytest_modelcheck import recorder
    print("installed:", recorder._installed, "stat:", os.stat.__name__ if hasattr(os.stat, "__code__") else "built in")
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

        with recorder.window(build, **window):
            read()
        return recorder.recording_of(build)

    return reads


def test_a_read_in_a_window_belongs_to_it_with_its_owner(recorded, tmp_path):
    (tmp_path / "w.txt").write_text("1")
    recorder._written.discard(str(tmp_path / "w.txt"))  # as if another process had written it
    read = recorded(lambda: (tmp_path / "w.txt").read_text()).reads
    assert ("file", str(tmp_path / "w.txt")) in read
    assert recorder.reads["file", str(tmp_path / "w.txt")].owners == {__file__}


def test_a_file_that_the_process_wrote_itself_is_no_read(recorded, tmp_path):
    (tmp_path / "out.txt").write_text("1")
    recorded(lambda: (tmp_path / "out.txt").read_text())
    assert recorder.was_written(str(tmp_path / "out.txt"))


def test_no_value_of_a_variable_is_kept(recorded, monkeypatch):
    monkeypatch.setenv("RECORDED_VALUE", "hunter2")
    assert ("env", "RECORDED_VALUE") in recorded(lambda: os.environ.get("RECORDED_VALUE")).reads
    assert "hunter2" not in repr(recorder.reads)


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


def test_paths_of_the_project_are_named_alike_in_every_checkout(monkeypatch):
    monkeypatch.setattr(recorder, "root", "/home/me/checkout")
    assert recorder.named("/home/me/checkout/net.py") == "{root}/net.py"
    assert recorder.located("{root}/net.py") == "/home/me/checkout/net.py"
    assert recorder.named("/elsewhere/net.py") == "/elsewhere/net.py"
