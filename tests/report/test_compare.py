"""Two reports side by side: what differs, and what is noise."""

import json

import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.report.compare import compare, compared_text
from pytest_modelcheck.report.history import history

FINDING = {
    "gate": "expect_ops",
    "model": "net",
    "subject": "Gemm",
    "expected": "3",
    "found": "2",
    "context": "",
    "where": [],
    "next": "",
    "verdict": "fail",
}


def row(name="net", findings=(), verdict="pass", **figures):
    model = {
        "name": name,
        "exporter": "dynamo",
        "target": "portable",
        "versions": {"torch": "2.12.0"},
        "seconds": {"export": 2.0, "passes": 0.1},
        "nodes": {"before": 9, "after": 7},
        "passes": [{"name": "fold_constants", "in_order": -2}, {"name": "settle", "in_order": 0}],
        "operators": {"after": {"Gemm": 2}},
        "accuracy": {"text": "1.0e-06"},
        "hierarchy": {"text": "100.0%"},
        "fusion": {"qkv": "2/2", "subgraphs": 5},
    }
    gates = [{"gate": "g", "verdict": verdict, "measured": "", "seconds": 0.0, "findings": list(findings)}]
    place = {"test": f"t.py::{name}", "file": "t.py", "line": 1, "outcome": "passed"}
    return {**place, "model": model | figures, "gates": gates, "findings": []}


def test_equal_reports_say_so():
    assert compare([row()], [row()]) == []
    assert compared_text([]) == "Both reports say the same."


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"versions": {"torch": "2.13.0"}}, ("all", "torch", "2.12.0", "2.13.0")),
        ({"nodes": {"before": 9, "after": 8}}, ("net [dynamo]", "nodes, optimized", "7", "8")),
        ({"operators": {"after": {"Gemm": 2, "Add": 1}}}, ("net [dynamo]", "Add, optimized", "-", "1")),
        ({"passes": []}, ("net [dynamo]", "nodes changed by fold_constants", "-2", "-")),
        ({"fusion": {"qkv": "0/2", "subgraphs": 5}}, ("net [dynamo]", "attention layers with Q, K, V", "2/2", "0/2")),
        ({"hierarchy": {"text": "97.0%"}}, ("net [dynamo]", "coverage", "100.0%", "97.0%")),
        ({"accuracy": {"text": "2.0e-06"}}, ("net [dynamo]", "largest difference", "1.0e-06", "2.0e-06")),
        ({"seconds": {"export": 3.0, "passes": 0.1}}, ("net [dynamo]", "seconds, export", "2.0", "3.0")),
        ({"verdict": "fail"}, ("net [dynamo]", "verdict", "1 pass", "1 fail")),
        ({"findings": [FINDING]}, ("net [dynamo]", "finding", "-", "expect_ops: Gemm expected 3, found 2 in net")),
    ],
)
def test_each_difference_is_one_row(changed, difference):
    assert compare([row()], [row(**changed)]) == [difference]


@pytest.mark.parametrize(
    "changed",
    [
        {"accuracy": {"text": "1.4e-06"}},
        {"seconds": {"export": 2.9, "passes": 0.1}},
        {"seconds": {"export": 2.0, "passes": 0.9}},
    ],
    ids=["rounding", "seconds", "short"],
)
def test_what_moves_from_run_to_run_is_no_difference(changed):
    assert compare([row()], [row(**changed)]) == []


def test_a_model_of_one_side_alone_is_named_and_a_finding_that_is_gone():
    assert compare([row(), row("old")], [row(), row("new")]) == [
        ("old [dynamo]", "model", "in the report", "not in the report"),
        ("new [dynamo]", "model", "not in the report", "in the report"),
    ]
    assert compare([row(findings=[FINDING])], [row()])[0][1:] == (
        "finding",
        "expect_ops: Gemm expected 3, found 2 in net",
        "gone",
    )


def test_the_command_prints_a_table_and_ends_with_1(project, capsys):
    project.gated("expect_ops(Gemm=2)").run("--modelcheck-report=a.json").outcomes(passed=1)
    project.replace("net.py", "torch.nn.ReLU()", "torch.nn.Tanh()")
    project.run("--modelcheck-report=b.json")
    capsys.readouterr()
    paths = [str(project.path / name) for name in ("a.json", "b.json")]
    assert main(["compare", paths[0], paths[0]]) == 0
    assert capsys.readouterr().out == "Both reports say the same.\n"
    assert main(["compare", *paths]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["| model | what | before | after |", "| --- | --- | --- | --- |"]
    assert "| net [torchscript] | Tanh, optimized | - | 1 |" in lines
    assert main(["compare", *paths, "--json"]) == 1
    assert {"model": "net [torchscript]", "what": "Relu, optimized", "before": "1", "after": "-"} in json.loads(
        capsys.readouterr().out
    )["differences"]
    assert main(["compare", *paths, "--output", str(project.path / "both.html")]) == 1
    assert "Tanh, optimized" in (project.path / "both.html").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["compare", paths[0], "gone.json"]) == 2
    assert "error: report gone.json: " in capsys.readouterr().err


def report(name, date, **figures):
    model = row(**figures)
    return name, {"tests": [model], "run": {"date": f"{date} 10:00:00 UTC", "commit": "abc1234 Title"} if date else {}}


def test_what_changed_over_runs_is_one_row_with_the_oldest_run_first():
    reports = [
        report("c.json", "2026-03-01", nodes={"before": 9, "after": 8}),
        report("a.json", ""),
        report("b.json", "2026-02-01", latency={"text": "x1.1"}),
    ]
    header, rows = history(reports)
    assert header == ["model", "what", "a.json", "2026-02-01 abc1234", "2026-03-01 abc1234"]
    assert rows == [
        ["net [dynamo]", "nodes, optimized", "7", "7", "8"],
        ["net [dynamo]", "latency", "-", "x1.1", "-"],
    ]
    assert history([report("a.json", ""), report("b.json", "")])[1] == []


def test_the_command_prints_the_history(tmp_path, capsys):
    for name, after in (("a.json", 7), ("b.json", 8)):
        content = json.dumps({"schema": 1, "tests": [row(nodes={"before": 9, "after": after})]})
        (tmp_path / name).write_text(content)
    paths = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert main(["history", *paths]) == 0
    assert "| net [dynamo] | nodes, optimized | 7 | 8 |" in capsys.readouterr().out
    assert main(["history", paths[0], paths[0]]) == 0
    assert capsys.readouterr().out == "All reports say the same.\n"
    assert main(["history", "gone.json"]) == 2
