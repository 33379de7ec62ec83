"""Progress is one line on a terminal, and one line now and then in a log."""

import io
import itertools
import threading
from types import SimpleNamespace

import pytest

from pytest_modelcheck.check.results import Results
from pytest_modelcheck.report.progress import Progress, line_progress, plain_progress, progress_of
from pytest_modelcheck.run_report import Running

pytestmark = pytest.mark.usefixtures("forked_python")


def test_a_line_overwrites_the_one_before_and_an_empty_one_clears_it():
    out = io.StringIO()
    show = line_progress(out)
    show("exporting bert")
    show("short")
    show("")
    assert out.getvalue() == "\rexporting bert\rshort         \r     \r"


def test_a_line_that_was_never_written_is_not_cleared():
    out = io.StringIO()
    line_progress(out)("")
    assert out.getvalue() == ""


def test_a_line_is_cut_where_the_terminal_ends(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    out = io.StringIO()
    line_progress(out)("exporting bert-base-uncased")
    assert out.getvalue() == "\rexporting b"


def test_a_run_whose_output_is_no_terminal_prints_no_progress(project):
    run = project.gated("expect_ops(Gemm=2)").run("-s").outcomes(passed=1)
    run.lacks("modelcheck: net [torchscript]: export ...", "\r")


def test_a_log_gets_a_line_every_thirty_seconds_at_most():
    now, written = [0.0], []
    show = plain_progress(written.append, clock=lambda: now[0])
    for now[0], text in ((29.9, "export"), (30.0, ""), (30.0, "passes"), (59.9, "fusion"), (60.0, "accuracy")):
        show(text)
    assert written == ["passes", "accuracy"]


def test_one_long_step_is_shown_again_with_its_seconds_until_it_ends():
    now, written = [0.0], []
    shown = Progress(plain_progress(written.append, clock=lambda: now[0]), every=0, clock=lambda: now[0])
    shown("export ...")
    for now[0] in (29.0, 31.0, 59.0, 61.5):
        shown.tick()
    shown("")
    now[0] = 100.0
    shown.tick()
    assert written == ["export ... 31 s", "export ... 62 s"]


def test_a_thread_shows_it_while_the_step_says_nothing():
    again = threading.Event()
    clock = itertools.count().__next__
    shown = Progress(lambda text: again.set() if text.endswith(" s") else None, every=0.01, clock=clock)
    shown("export ...")
    assert again.wait(30)
    shown.close()


def test_nothing_is_shown_after_the_end():
    written = []
    shown = Progress(written.append, lambda: written.append("closed"), every=0)
    shown("export ...")
    shown.close()
    shown.tick()
    assert written == ["export ...", "closed"]


def test_the_line_goes_past_what_captures_the_stream_later(tmp_path):
    with open(tmp_path / "terminal", "w+", encoding="utf-8") as terminal:
        shown = progress_of(terminal, terminal=True)
        shown("export ...")
        shown.close()
        assert (tmp_path / "terminal").read_bytes() == b"\rexport ..."
        assert not terminal.closed
    stream = io.StringIO()
    shown = progress_of(stream, terminal=True)
    shown("export ...")
    shown.close()
    assert stream.getvalue() == "\rexport ..."


def test_the_outer_step_is_shown_again_when_the_inner_one_ends():
    said = []
    results = Results(progress=said.append)
    with results.timed("export"), results.timed("build"):
        pass
    assert said == ["export ...", "build ...", "export ...", ""]


def test_of_the_tests_of_workers_the_one_that_lasts_longest_is_shown():
    now, written = [0.0], []
    shown = Progress(written.append, every=1000.0, clock=lambda: now[0])
    running = Running(lambda: shown, clock=lambda: now[0])

    def ended(test, when):
        running.pytest_runtest_logreport(SimpleNamespace(nodeid=test, when=when))

    running.pytest_runtest_logstart("test_a.py::test_bert")
    now[0] = 500.0
    running.pytest_runtest_logstart("test_b.py::test_llama")
    for now[0] in (999.0, 1000.0):
        shown.tick()
    ended("test_a.py::test_bert", "call")
    ended("test_a.py::test_bert", "teardown")
    for now[0] in (1499.0, 1500.0):
        shown.tick()
    ended("test_b.py::test_llama", "???")  # its worker crashed
    now[0] = 9000.0
    shown.tick()
    shown.close()
    assert [text for text in written if text] == [
        "modelcheck: running test_a.py::test_bert and 1 more ... 1000 s",
        "modelcheck: running test_b.py::test_llama ... 1000 s",
    ]


def test_a_run_with_workers_shows_its_progress(project):
    project.conftest("""
        from pathlib import Path

        import pytest
        from pytest_modelcheck.report import progress

        SEEN = Path(__file__).with_name("seen")
        progress.plain_progress = lambda write: lambda text: text and SEEN.write_text(text)

        @pytest.fixture
        def seen():
            return SEEN
    """)
    project.file(
        "test_long.py",
        """
        import time

        def test_long(seen):
            for _ in range(600):
                if seen.exists():
                    return
                time.sleep(0.1)
            raise AssertionError("nothing was shown for a minute")
    """,
    )
    project.run("-n1", subprocess=True).outcomes(passed=1)
    assert (project.path / "seen").read_text().startswith("modelcheck: running test_long.py::test_long ... ")
