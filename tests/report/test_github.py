"""What GitHub Actions is told: annotations at the test's line, the report in the job's summary."""

from pathlib import Path

import pytest

from pytest_modelcheck.report.github import annotation_lines, write_summary

pytestmark = pytest.mark.usefixtures("forked_python")

FINDING = {
    "gate": "expect_ops",
    "model": "net",
    "subject": "Gemm",
    "expected": "3",
    "found": "100%, or 2: <b>",
    "context": "",
    "where": ["layer.0"],
    "next": "",
    "verdict": "fail",
}
HERE = {"GITHUB_ACTIONS": "true"}


def row(name="test_net", outcome="failed", findings=(FINDING,), file="tests/test_it.py"):
    return {
        "test": f"tests/test_it.py::{name}",
        "file": file,
        "line": 7,
        "outcome": outcome,
        "model": None,
        "gates": [],
        "findings": list(findings),
    }


def test_outside_github_actions_nothing_is_printed_or_written(tmp_path):
    summary = tmp_path / "summary.md"
    assert list(annotation_lines([row()], tmp_path, {})) == []
    write_summary([row()], {"GITHUB_STEP_SUMMARY": str(summary)})
    assert not summary.exists()


def test_a_failed_test_is_an_error_at_its_line_with_everything_escaped(tmp_path):
    checkout = {**HERE, "GITHUB_WORKSPACE": str(tmp_path)}
    assert list(annotation_lines([row("test_net[a:b,c]")], tmp_path / "python", checkout)) == [
        "::error file=python/tests/test_it.py,line=7,title=test_net[a%3Ab%2Cc]::"
        "expect_ops: Gemm expected 3, found 100%25, or 2: <b> in net%0A  where: layer.0"
    ]


def test_a_green_test_with_a_finding_is_a_warning_and_one_without_is_silent(tmp_path):
    rows = [row(outcome="passed"), row("test_other", "passed", ())]
    (line,) = annotation_lines(rows, Path("/elsewhere"), {**HERE, "GITHUB_WORKSPACE": str(tmp_path)})
    assert line.startswith("::warning file=/elsewhere/tests/test_it.py,line=7,title=test_net::expect_ops")


def test_the_summary_is_appended_and_cut_at_what_github_accepts(tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    environment = {**HERE, "GITHUB_STEP_SUMMARY": str(summary)}
    write_summary([row()], environment)
    text = summary.read_text()
    assert text.startswith("before\n<!-- pytest-modelcheck -->\n\n# Model checks: 1 of 1 test failed")
    assert "expect_ops: Gemm expected 3" in text
    summary.unlink()
    write_summary([row(findings=[{**FINDING, "found": letter * 300_000} for letter in "äöü"])], environment)
    assert 300_000 < summary.stat().st_size < 1 << 20
    assert summary.read_text().endswith("keep it with --modelcheck-report.\n\n")


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["plain", "xdist"])
def test_a_run_in_github_actions(project, monkeypatch, workers):
    for name, value in {**HERE, "GITHUB_STEP_SUMMARY": str(project.path / "summary.md")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    project.gated("expect_ops(Gemm=3)")
    run = project.run(*workers, subprocess=bool(workers))
    run.outcomes(failed=1)
    run.has("::error file=test_it.py,line=", "title=test_net::expect_ops: Gemm expected 3, found ")
    assert "expect_ops: Gemm expected 3" in (project.path / "summary.md").read_text()


def test_a_summary_that_cannot_be_written_is_said_and_fails_nothing(project, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "no" / "summary.md"))
    project.gated("expect_ops(Tan=0)")
    project.run().outcomes(passed=1).has("WARNING: the job's summary cannot be written: ")
