"""Names out of a model, in every channel of a run: none drives a terminal, a CI log, or whoever renders the report."""

import io
import json
from xml.etree import ElementTree

import pytest

from pytest_modelcheck.report.ci_files import benchmark, code_quality
from pytest_modelcheck.report.compare import HEADER
from pytest_modelcheck.report.github import annotation_lines
from pytest_modelcheck.report.html import compared_html, html
from pytest_modelcheck.report.markdown import markdown
from pytest_modelcheck.report.progress import line_progress, plain_progress

NAME = "\x1b[31mred\n::error::owned\r\u202e``` ````<img src=x onerror=alert(1)>|@everyone %0A"
ESCAPED = r"\x1b[31mred\n::error::owned\r\u202e"
FINDING = {
    "gate": "expect_ops", "model": NAME, "subject": NAME, "expected": NAME, "found": NAME, "context": NAME,
    "where": [NAME], "next": NAME, "verdict": "fail",
}  # fmt: skip


@pytest.fixture
def rows():
    model = {
        "name": NAME,
        "exporter": "onnx",
        "target": "portable",
        "seconds": {"export": 1.0},
        "nodes": {"before": 9, "after": 7},
        "passes": [{"name": "fold_constants", "isolated": -2, "in_order": -2, "status": "fired"}],
        "accuracy": {"text": "1e-6", "notes": [NAME]},
    }
    gates = [{"gate": "expect_ops", "verdict": "fail", "measured": NAME, "seconds": 0.0, "findings": [FINDING]}]
    row = {"test": f"test_it.py::test[{NAME}]", "file": "test_it.py", "line": 3, "outcome": "failed", "findings": []}
    return [row | {"model": model, "gates": gates}]


def harmless(text):
    """No control character, and no line that a CI log takes for a command."""
    assert not [letter for letter in text if (ord(letter) < 32 and letter != "\n") or letter == "\u202e"]
    assert not [line for line in text.splitlines() if line.lstrip().startswith("::")]
    return text


def test_an_annotation_is_one_command(rows, tmp_path):
    (line,) = annotation_lines(rows, tmp_path, {"GITHUB_ACTIONS": "true"})
    assert line.startswith("::error file=")
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b" not in line
    assert "%250A" in line
    assert "\n%0A::" not in line.replace("%0A  ", "\n")


def test_markdown_opens_no_tag_and_closes_no_fence(rows):
    text = harmless(markdown(rows))
    outside, fence = [], ""
    for line in text.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            outside.append(line)
    assert not fence
    assert "`" not in "".join(outside)
    assert "<img" not in "".join(outside)
    assert "@" not in "".join(outside)
    assert ESCAPED in "".join(outside)


def test_html_opens_no_tag(rows):
    side = {"class_name": NAME, "ops": [[NAME, 1]]}
    rows[0]["changed"] = [{"path": NAME, "was": side, "now": None}]
    rows[0]["model"]["tree"] = [NAME]
    text = html(rows, about={"command": NAME})
    harmless(text)
    harmless(compared_html([(NAME,) * 4], HEADER, [(NAME, {"tests": rows, "run": {"commit": NAME}})]))
    assert "<img" not in text
    assert "&lt;img" in text


def test_gitlab_and_dashboards_get_one_entry_each(rows):
    (entry,) = json.loads(code_quality(rows))
    harmless(entry["description"])
    harmless(code_quality(rows) + benchmark(rows))


def test_progress_is_one_line():
    out, said = io.StringIO(), []
    line_progress(out)(NAME)
    plain_progress(said.append, every=0)(NAME)
    assert out.getvalue().count("\r") == 1
    assert ESCAPED in harmless(out.getvalue().lstrip("\r"))
    assert ESCAPED in harmless(*said)


def test_a_whole_run_prints_and_writes_none_of_it(project):
    project.conftest(f"""
        import onnx, pytest
        from onnx import TensorProto, helper
        from pytest_modelcheck import ModelCase

        NAME = {NAME!r}

        @pytest.fixture(scope="session")
        def model_case():
            port = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in (NAME, "y")]
            graph = helper.make_graph([helper.make_node("Relu", [NAME], ["y"], name=NAME)], "g", port[:1], port[1:])
            onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "net.onnx")
            return ModelCase.from_onnx("net.onnx")
    """)
    markers = ("expect_interface(inputs=('x',))", "expect_ops(Relu=2)")
    project.gated(*markers, body="assert modelcheck.interface == modelcheck_snapshot",
                  fixtures="modelcheck, modelcheck_snapshot")  # fmt: skip
    run = project.run("--snapshot-update", "--snapshot-no-colors", "--modelcheck-report=out.md", "--junitxml=out.xml")
    run.outcomes(failed=1).has(r"the graph has `\x1b[31mred", r"\x3a:error::owned\r\u202e")
    harmless(run.text.replace("\t", " "))
    harmless((project.path / "out.md").read_text(encoding="utf-8"))
    ElementTree.parse(project.path / "out.xml")
    harmless(next(project.path.rglob("*.interface.txt")).read_text(encoding="utf-8"))
