"""Graphs that onnxruntime does not load: one finding with the way out, and what a case can give its sessions."""

import pytest

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.runtimes import How
from tests.gate_checks import ask, check_of_graph, said

CUSTOM = """<ir_version: 8, opset_import: ["" : 17, "my.company" : 1]>
g (float[2,3] x) => (float[2,3] y) { a = my.company.Swirl (x)  y = Relu (a) }"""

BFLOAT16 = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] x) => (float[2,3] y) { a = Cast <to = 16> (x)  b = Sin (a)  y = Cast <to = 1> (b) }"""


def test_a_custom_operator_is_one_finding_that_names_the_option(tmp_path):
    result = ask(check_of_graph(CUSTOM, tmp_path), "expect_accuracy", seeds=1)
    (finding,) = result.findings
    assert (finding.subject, finding.verdict) == ("stage 'exported'", Verdict.ERROR)
    assert "Swirl" in finding.found
    assert finding.where == (
        "so does stage 'optimized'",
        'so does stage "exported under onnxruntime\'s optimizer"',
        'so does stage "optimized under onnxruntime\'s optimizer"',
    )
    assert 'name its library: ModelCase(..., custom_ops=["libmy_ops.so"])' in finding.next


def test_a_type_without_kernel_says_where_it_could_run(tmp_path):
    result = ask(check_of_graph(BFLOAT16, tmp_path), "expect_accuracy", seeds=1)
    (finding,) = result.findings
    assert "Type 'tensor(bfloat16)' of input parameter (a) of operator (Sin)" in finding.found
    assert finding.next.startswith("onnxruntime's CPU provider computes little in bfloat16. Check a float32 export")


def test_a_library_that_is_none_is_named(tmp_path):
    library = tmp_path / "libmine.so"
    library.write_text("not a library", encoding="utf-8")
    check_of_graph(CUSTOM, tmp_path)
    case = ModelCase.from_onnx(tmp_path / "graph.onnx", custom_ops=[library])
    result = ask(ModelCheck(case), "expect_accuracy", seeds=1)
    assert f"onnxruntime cannot register the custom operators of {library}: " in said(result)
    assert "build it for this version and platform" in said(result)


def test_entries_of_a_case_reach_its_sessions():
    from pytest_modelcheck.runtimes.onnxruntime.session import session_options

    case = ModelCase.from_onnx("m.onnx", session_options={"session.set_denormal_as_zero": "1"})
    options = session_options(How(threads=2).of(case))
    assert options.get_session_config_entry("session.set_denormal_as_zero") == "1"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"custom_ops": "libmine.so"}, "custom_ops must be a list of files, got 'libmine.so'"),
        ({"custom_ops": ["gone.so"]}, "custom_ops: there is no file 'gone.so'"),
        ({"session_options": {"threads": 2}}, "session_options['threads'] must be text, got 2"),
    ],
)
def test_what_cannot_be_given_to_a_session_is_refused_by_name(given, message):
    with pytest.raises(ModelCaseError) as caught:
        ModelCase.from_onnx("m.onnx", **given)
    assert message in str(caught.value)
