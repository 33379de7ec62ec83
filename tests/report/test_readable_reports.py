"""The report as Markdown and as HTML: the same rows, every finding, nothing that a reader's browser would run."""

from html.parser import HTMLParser

import pytest

from pytest_modelcheck.report.compare import HEADER, compare
from pytest_modelcheck.report.html import compared_html, html
from pytest_modelcheck.report.latency_picture import drawn
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
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_markdown_of_a_green_run():
    assert markdown([row()]) == (
        "<!-- pytest-modelcheck -->\n\n# Model checks: 1 test passed\n\n"
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
        "<!-- pytest-modelcheck -->\n\n# Model checks: 1 test passed (exit status 2)\n"
    )
    assert "1 test passed (exit status 2)" in html([row()], exit_status=2)


def test_a_run_without_models():
    assert markdown([]) == "<!-- pytest-modelcheck -->\n\n# Model checks: 0 tests passed\n\nNo model was checked.\n"
    assert Tags(html([])).open == []


def test_html_is_well_formed_and_escapes_what_tests_said():
    text = html([row(outcome="failed", findings=[FINDING]), row("<script>alert(1)</script>")])
    tags = Tags(text)
    assert tags.open == []
    assert not {"script", "b"} & set(tags.seen)
    assert "1 of 2 tests failed" in text
    assert '<tr class="fail x0">' in text
    assert '<tr class="pass x0">' in text
    assert "found 2 | &lt;b&gt; in net (optimized)" in text
    assert '<td class="number">-2 / 0</td>' in text


def test_html_shows_the_pictures_of_a_model():
    text = html([row(pictures=[{"caption": "layer.0", "svg": "<svg><path/></svg>"}])])
    assert "<svg><path/></svg>" in text
    assert "net [dynamo]: layer.0" in text


CHANGED = [
    {
        "path": "layers.[0-2].act",
        "was": {"class_name": "GELU", "ops": [["Erf", 1], ["Mul", 2]]},
        "now": {"class_name": "ReLU", "ops": [["Mul", 2], ["Relu", 1]]},
    },
    {"path": None, "was": None, "now": {"class_name": "", "ops": []}},
]


def test_html_draws_changed_modules_before_and_after():
    made = row(outcome="failed", findings=[FINDING]) | {"changed": CHANGED}
    text = html([made])
    assert Tags(text).open == []
    assert '<b>GELU</b><span class="op gone">- Erf</span><span class="op">Mul x2</span></div>' in text
    assert '<b>ReLU</b><span class="op">Mul x2</span><span class="op new">+ Relu</span></div>' in text
    assert "(root)" in text
    assert "<b>not there</b>" in text
    assert "<b>unknown class</b>" in text
    assert "more</p>" not in text
    assert "<p>and 2 more</p>" in html([made | {"changed": CHANGED * 21}])


def test_html_has_findings_first_and_filters_that_need_no_script():
    rows = [row(outcome="failed", findings=[FINDING]), row("other", exporter="torchscript")]
    text = html(rows)
    assert text.index('<h2 id="findings">') < text.index('<h2 id="models">')
    for filtered in ("fail", "pass", "x0", "x1"):
        assert f'id="only-{filtered}"' in text
        assert f"body:has(#only-{filtered}:checked) #models-table tbody tr:not(.{filtered})" in text
    assert 'id="only-inconclusive"' not in text
    assert "<input" not in html([row()])
    assert "http" not in text


def test_html_says_what_the_run_was():
    about = {"date": "2026-01-02 03:04:05 UTC", "commit": "abc1234 <first>", "command": "pytest --modelcheck"}
    rows = [row(versions={"torch": "2.13"}), row("other", versions={"torch": "2.12"})]
    text = html(rows, about=about)
    assert "<dt>commit</dt><dd>abc1234 &lt;first&gt;</dd>" in text
    assert "<dt>versions</dt><dd>torch 2.13 and 2.12</dd>" in text


def latency(low, ratio, high, **more):
    return {"interval": [low, high], "ratio": ratio, "text": f"x{ratio} [{low}, {high}]"} | more


def test_latencies_are_drawn_on_one_scale():
    slow, fast = latency(0.5, 0.6, 0.7), latency(1.1, 1.2, 1.3, noise=[0.9, 1.1])
    scale = drawn([{"name": n, "exporter": "dynamo", "latency": f} for n, f in (("slow", slow), ("fast", fast))])
    assert (scale.low, scale.high) == (0.46, 1.34)
    first, second = scale.rows
    assert first["low"] < first["ratio"] < first["high"] < first["one"] == second["one"] < second["low"]
    assert (first["noise"], second["noise"][1] > 0) == (None, True)
    assert 'role="img" aria-label="x0.6 [0.5, 0.7]"' in html([row(latency=slow)])


@pytest.mark.parametrize("figures", [None, {"text": "failed"}, latency("nan", 1.0, 2.0), latency(1.0, None, 2.0)])
def test_what_was_not_timed_is_not_drawn(figures):
    assert drawn([{"name": "net", "exporter": "dynamo", "latency": figures}]) is None


def test_two_reports_are_shown_side_by_side():
    sides = [
        ("before.json", {"tests": [row()], "run": {"commit": "aaa"}}),
        ("after.json", {"tests": [row(nodes={"before": 9, "after": 8})]}),
    ]
    differences = compare(*(report["tests"] for _, report in sides))
    text = compared_html(differences, HEADER, sides)
    assert Tags(text).open == []
    assert "<h1>Two reports: 1 difference</h1>" in text
    assert '<td>nodes, optimized</td><td class="text">7</td><td class="text">8</td>' in text
    assert "<dd>aaa</dd>" in text
    assert text.index("before.json") < text.index("after.json")
    assert "both say the same" in compared_html([], HEADER, sides)


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


def test_a_run_whose_modules_changed_draws_them(project):
    project.gated(body="assert modelcheck.modules == modelcheck_snapshot", fixtures="modelcheck, modelcheck_snapshot")
    project.run("--snapshot-update").outcomes(passed=1)
    project.replace("net.py", "ReLU()", "Tanh()").run("--modelcheck-report=out.json").outcomes(failed=1)
    assert project.report()["tests"][0]["changed"] == [
        {
            "path": "act",
            "was": {"class_name": "ReLU", "ops": [["Relu", 1]]},
            "now": {"class_name": "Tanh", "ops": [["Tanh", 1]]},
        }
    ]


def test_the_junit_file_of_pytest_holds_each_gate(project):
    project.gated("expect_ops(Gemm=3)").run("--junit-xml=out.xml").outcomes(failed=1)
    assert '<property name="expect_ops" value="fail: Gemm 2" />' in (project.pytester.path / "out.xml").read_text()
