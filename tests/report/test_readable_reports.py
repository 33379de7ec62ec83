"""The report as Markdown and as HTML: the same rows, every finding, nothing that a reader's browser would run."""

from html.parser import HTMLParser

import pytest

from pytest_modelcheck.report.html import html
from pytest_modelcheck.report.markdown import markdown

FINDING = {
    "gate": "expect_ops",
    "model": "net",
    "subject": "Gemm",
    "expected": "3",
    "found": "2 | <b>",
    "context": "optimized",
    "where": ["layer.0"],
    "next": "write Gemm=2",
    "verdict": "fail",
}
TEXT = "expect_ops: Gemm expected 3, found 2 | <b> in net (optimized)\n  where: layer.0\n  next:  write Gemm=2"


def row(name="net", outcome="passed", findings=(), **figures):
    model = {
        "name": name,
        "exporter": "dynamo",
        "target": "portable",
        "seconds": {"export": 1.25},
        "nodes": {"before": 9, "after": 7},
        "passes": [{"name": "fold_constants", "isolated": -2, "in_order": 0, "status": "no_op"}],
    }
    verdict = "fail" if findings else "pass"
    gates = [{"gate": "expect_ops", "verdict": verdict, "measured": "2", "seconds": 0.0, "findings": list(findings)}]
    return {
        "test": f"test_it.py::test_{name}",
        "outcome": outcome,
        "model": model | figures,
        "gates": gates,
        "findings": [],
    }


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_markdown_of_a_green_run():
    assert markdown([row()]) == (
        "<!-- pytest-modelcheck -->\n\n# Model checks: 1 tests passed\n\n"
        "| model | exporter | nodes | max diff | coverage | latency | verdict |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n"
        "| net | dynamo | 9 -> 7 | not measured | not measured | not measured | 1 pass |\n\n"
        "<details><summary>Passes</summary>\n\n"
        "Nodes changed by each pass: alone / in its place in the pipeline (-72 means 72 nodes fewer).\n\n"
        "| pass | net dynamo |\n| --- | --- |\n| fold_constants | -2 / 0 |\n\n</details>\n\n"
        "<details><summary>Seconds</summary>\n\n"
        "| model | exporter | step | seconds |\n| --- | --- | --- | --- |\n| net | dynamo | export | 1.2 |\n\n"
        "</details>\n"
    )


def test_markdown_of_a_red_run_holds_each_finding_whole():
    text = markdown(
        [row(outcome="failed", findings=[FINDING]), row("other", accuracy={"text": "1", "notes": ["a note"]})]
    )
    assert text.startswith("<!-- pytest-modelcheck -->\n\n# Model checks: 1 of 2 tests failed\n")
    assert f"## test_it.py::test_net\n\n```text\n{TEXT}\n```" in text
    assert "<summary>Notes</summary>\n\n- other [dynamo]: a note" in text


def test_a_bar_in_a_cell_ends_no_column():
    assert "| a\\|b | dynamo |" in markdown([row("a|b")])


def test_a_run_that_ended_badly_without_a_failed_test_says_so():
    assert markdown([row()], exit_status=2).startswith(
        "<!-- pytest-modelcheck -->\n\n# Model checks: 1 tests passed (exit status 2)\n"
    )
    assert "1 tests passed (exit status 2)" in html([row()], exit_status=2)


def test_a_run_without_models():
    assert markdown([]) == "<!-- pytest-modelcheck -->\n\n# Model checks: 0 tests passed\n\nNo model was checked.\n"
    assert Tags(html([])).open == []


def test_html_is_well_formed_and_escapes_what_tests_said():
    text = html([row(outcome="failed", findings=[FINDING]), row("<script>alert(1)</script>")])
    tags = Tags(text)
    assert tags.open == []
    assert not {"script", "b"} & set(tags.seen)
    assert "1 of 2 tests failed" in text
    assert '<tr class="fail">' in text
    assert '<tr class="pass">' in text
    assert "found 2 | &lt;b&gt; in net (optimized)" in text
    assert '<td class="number">-2 / 0</td>' in text


def test_html_shows_the_pictures_of_a_model():
    text = html([row(pictures=[{"caption": "layer.0", "svg": "<svg><path/></svg>"}])])
    assert "<svg><path/></svg>" in text
    assert "net [dynamo]: layer.0" in text


def test_two_cases_of_one_name_with_different_exports_are_two_rows():
    rows = [row(export={"key": key, "warnings": []}) for key in ("a", "b", "a")]
    assert markdown(rows).count("| net | dynamo | 9 -> 7 |") == 2


def test_a_run_that_fuses_draws_one_module_in_html_and_not_in_json(project):
    project.test("""
    def test_it(modelcheck): assert modelcheck.fusion.subgraphs
    """).run("--modelcheck-report=out.html", "--modelcheck-report=out.json").outcomes(passed=1)
    assert "<svg" in (project.pytester.path / "out.html").read_text(encoding="utf-8")
    model = project.report("out.json")["tests"][0]["model"]
    assert model["fusion"]["qkv"] == "0/0"
    assert "pictures" not in model


@pytest.mark.parametrize(("suffix", "start"), [(".md", "<!-- pytest-modelcheck -->"), (".html", "<!DOCTYPE html>")])
def test_the_file_is_written_by_a_run(project, suffix, start):
    project.gated("expect_ops(Gemm=3)").run(f"--modelcheck-report=deep/out{suffix}").outcomes(failed=1)
    text = (project.pytester.path / f"deep/out{suffix}").read_text(encoding="utf-8")
    assert text.startswith(start)
    assert "expect_ops: Gemm expected 3, found 2 in net" in text


def test_the_junit_file_of_pytest_holds_each_gate(project):
    project.gated("expect_ops(Gemm=3)").run("--junit-xml=out.xml").outcomes(failed=1)
    assert '<property name="expect_ops" value="fail: Gemm 2" />' in (project.pytester.path / "out.xml").read_text()
