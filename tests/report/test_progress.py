"""Progress is one line on a terminal, and nothing where nobody watches."""

import io

from pytest_modelcheck.report.progress import line_progress, no_progress, plain_progress


def test_a_line_overwrites_the_one_before_and_an_empty_one_clears_it():
    out = io.StringIO()
    show = line_progress(out)
    show("exporting bert")
    show("short")
    show("")
    assert out.getvalue() == "\rexporting bert\rshort         \r     \r"


def test_no_progress_is_silent(capsys):
    no_progress("exporting")
    assert capsys.readouterr() == ("", "")


def test_a_run_whose_output_is_no_terminal_prints_no_progress(project):
    run = project.gated("expect_ops(Gemm=2)").run("-s").outcomes(passed=1)
    run.lacks("modelcheck: net [torchscript]: export ...", "\r")


def test_a_log_gets_a_line_every_thirty_seconds_at_most():
    now, written = [0.0], []
    show = plain_progress(written.append, clock=lambda: now[0])
    for now[0], text in ((29.9, "export"), (30.0, ""), (30.0, "passes"), (59.9, "fusion"), (60.0, "accuracy")):
        show(text)
    assert written == ["passes", "accuracy"]
