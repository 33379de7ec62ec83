"""Reports for GitLab and for benchmark dashboards."""

import json

from pytest_modelcheck.report.ci_files import benchmark, code_quality
from pytest_modelcheck.report.markdown import findings_of

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


def row(finding=FINDING, **figures):
    model = {"name": "net", "exporter": "dynamo", "target": "portable", "seconds": {"export": 1.5}} | figures
    gates = [{"gate": "expect_ops", "verdict": "fail", "measured": "2", "seconds": 0.0, "findings": [finding]}]
    place = {"test": "test_it.py::test_net", "file": "test_it.py", "line": 7}
    return {**place, "outcome": "failed", "model": model, "gates": gates, "findings": []}


def test_a_finding_in_gitlabs_form_keeps_its_fingerprint_while_its_figures_move():
    (found,) = json.loads(code_quality([row()]))
    assert found["description"] == "expect_ops: Gemm expected 3, found 2 in net"
    assert (found["check_name"], found["severity"]) == ("expect_ops", "major")
    assert found["location"] == {"path": "test_it.py", "lines": {"begin": 7}}
    (moved,) = json.loads(code_quality([row({**FINDING, "found": "1"})]))
    (other,) = json.loads(code_quality([row({**FINDING, "subject": "Relu"})]))
    assert moved["fingerprint"] == found["fingerprint"] != other["fingerprint"]


def test_what_gates_and_body_found_alike_is_one_finding():
    alike = row() | {"findings": [FINDING, FINDING]}
    assert len(json.loads(code_quality([alike]))) == 1
    ((_, texts),) = findings_of([alike])
    assert texts == ["expect_ops: Gemm expected 3, found 2 in net"]


def test_figures_for_a_dashboard_are_names_units_and_values():
    nodes, weights = {"before": 9, "after": 7}, {"before": 400, "after": 400}
    assert json.loads(benchmark([row(nodes=nodes, initializer_bytes=weights)])) == [
        {"name": "net [dynamo]: nodes, exported", "unit": "nodes", "value": 9},
        {"name": "net [dynamo]: initializers, exported", "unit": "bytes", "value": 400},
        {"name": "net [dynamo]: nodes, optimized", "unit": "nodes", "value": 7},
        {"name": "net [dynamo]: initializers, optimized", "unit": "bytes", "value": 400},
        {"name": "net [dynamo]: export", "unit": "s", "value": 1.5},
    ]
    assert json.loads(benchmark([])) == []


def test_the_pace_of_a_decoder_is_in_it():
    pace = {"first_token_ms": 3.5, "next_token_ms": 1.25}
    assert json.loads(benchmark([row(generation=pace)]))[:2] == [
        {"name": "net [dynamo]: first token", "unit": "ms", "value": 3.5},
        {"name": "net [dynamo]: each further token", "unit": "ms", "value": 1.25},
    ]


def test_a_run_writes_each_form_by_the_name_of_its_file(project):
    project.gated("expect_ops(Gemm=3)").run(
        "--modelcheck-report=out.codequality.json", "--modelcheck-report=out.benchmark.json"
    ).outcomes(failed=1)
    (found,) = project.report("out.codequality.json")
    assert found["location"]["path"] == "test_it.py"
    assert {entry["unit"] for entry in project.report("out.benchmark.json")} >= {"nodes", "s"}
