"""The table of known failures: what it expects, what it says of itself, and what is wrong with it."""

import pytest

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.known_failures import KnownFailure, expected, outcome, read_known_failures
from pytest_modelcheck.result import Finding

pytestmark = pytest.mark.usefixtures("forked_python")

GATES = ("expect_ops", "expect_accuracy")
ROW = """
[[failure]]
case = "net"
gate = "expect_ops"
reason = "one Gemm too many since torch 2.13"
link = "https://example.org/1"
"""


def table(tmp_path, text):
    path = tmp_path / "known.toml"
    path.write_text(text, encoding="utf-8")
    return read_known_failures(path, GATES)


def finding(gate):
    return Finding(gate=gate, model="net", subject="Gemm", expected="1", found="2")


# -- the file -----------------------------------------------------------------------------------------------------


def test_a_row_says_what_fails_why_and_when(tmp_path):
    (row,) = table(tmp_path, ROW + 'exporter = "dynamo"\nversions = { pytest = ">=1" }')
    assert str(row) == "known.toml, row 1 (net [dynamo], expect_ops)"
    assert row.in_force
    assert row.is_about("net", "dynamo")
    assert not row.is_about("net", "torchscript")
    assert not row.is_about("nets", "dynamo")


@pytest.mark.parametrize(("bounds", "holds"), [(">=1", True), ("<1", False), (">=1,<2", False), (">=1,!=1.5", True)])
def test_a_row_holds_within_its_versions(tmp_path, bounds, holds):
    (row,) = table(tmp_path, f'{ROW}versions = {{ pytest = "{bounds}" }}')
    assert row.in_force is holds


def test_a_library_that_is_not_installed_is_of_no_version(tmp_path):
    (row,) = table(tmp_path, ROW + 'versions = { no-such-library = ">=0" }')
    assert not row.in_force


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[failure]]\ncase =", "known.toml: Invalid value"),
        ("[[failures]]", r"known.toml: holds failures; write each row as \[\[failure\]\]"),
        ('[[failure]]\ncase = "net"', "known.toml, row 1: has no gate, reason"),
        (ROW + 'reasons = "x"', "row 1: 'reasons' is unknown; known: case, gate, reason, exporter, link, versions"),
        (ROW.replace('"net"', "3"), "row 1: case must be text, got 3"),
        (
            ROW.replace("_ops", "_op"),
            "row 1: gate 'expect_op' is unknown; choose one of expect_ops, expect_accuracy, s",
        ),
        (ROW + 'exporter = "onnx2"', "row 1: exporter 'onnx2' is unknown; choose one of dynamo, torchscript, onnx"),
        (ROW + 'versions = ">=1"', "row 1: versions must be a table such as"),
        (ROW + ROW + 'versions = { torch = "2.14" }', "row 2: versions.torch: '2.14' is no version bound such as"),
        (ROW + "versions = { torch = 2.14 }", "row 1: versions.torch: 2.14 is no version bound such as"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path, text, message):
    with pytest.raises(OptionError, match=f"modelcheck_known_failures: .*{message}"):
        table(tmp_path, text)


def test_a_table_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"modelcheck_known_failures: .*gone.toml: .*No such file"):
        read_known_failures(tmp_path / "gone.toml", GATES)


# -- one test -----------------------------------------------------------------------------------------------------


def row(gate="expect_ops", **more):
    return KnownFailure(place="known.toml, row 1", case="net", gate=gate, reason="so", **more)


def test_a_test_is_expected_to_fail_where_every_finding_is_of_a_row():
    said = expected([row()], "net", "dynamo", ["expect_ops", "expect_accuracy"], [finding("expect_ops")])
    assert said.reason == "known failure: so"
    both = [finding("expect_ops"), finding("expect_accuracy")]
    assert expected([row()], "net", "dynamo", GATES, both).reason == ""
    assert expected([row(), row("expect_accuracy", link="url")], "net", "dynamo", GATES, both).reason == (
        "known failure: so; so url"
    )


def test_an_export_and_a_snapshot_are_rows_by_these_names():
    assert expected([row("export")], "net", "dynamo", GATES, [finding("modelcheck")]).reason
    assert expected([row("snapshot")], "net", "dynamo", ["snapshot"], [finding("snapshot")]).reason
    assert not expected([row("snapshot")], "net", "dynamo", GATES, [finding("expect_ops")]).reason


def test_a_row_out_of_its_versions_or_of_another_case_expects_nothing():
    found = [finding("expect_ops")]
    assert not expected([row(versions={"pytest": "<1"})], "net", "dynamo", GATES, found).rows
    assert not expected([row(exporter="torchscript")], "net", "dynamo", GATES, found).rows
    assert not expected([row()], "other", "dynamo", GATES, found).rows


# -- one run ------------------------------------------------------------------------------------------------------


def test_a_row_passes_where_no_test_of_the_run_failed_by_it():
    failed = {"known": [{"row": str(row()), "reason": "so", "link": "", "failed": True}]}
    passed = {"known": [{"row": str(row()), "reason": "so", "link": "", "failed": False}]}
    assert outcome([row()], [passed, failed]).lines == ("known failure: known.toml, row 1 (net, expect_ops): so",)
    assert outcome([row()], [passed, passed]).passing == ("known.toml, row 1 (net, expect_ops)",)
    assert outcome([row()], [{}]).lines == ("met by no test of this run: known.toml, row 1 (net, expect_ops)",)
    assert outcome([row(versions={"pytest": "<1"})], [{}]).lines == ()


def known(project, text=ROW, **ini):
    return project.file("known.toml", text).ini(modelcheck_known_failures="known.toml", **ini)


def test_a_known_failure_is_expected_and_listed(project):
    known(project).gated("expect_ops(Gemm=1)")
    project.run("-rx", "--modelcheck-report", "out.json").outcomes(xfailed=1).has(
        "known failure: one Gemm too many since torch 2.13 https://example.org/1",
        "known failure: known.toml, row 1 (net, expect_ops): one Gemm too many since torch 2.13 https://example.org/1",
    )
    (test,) = project.report()["tests"]
    assert [entry["failed"] for entry in test["known"]] == [True]
    project.run("--runxfail").outcomes(failed=1)


def test_another_gate_of_the_test_still_fails_it(project):
    known(project).gated("expect_ops(Gemm=1)", "expect_reduction(total='>=50%')")
    project.run().outcomes(failed=1).has("expect_reduction: total", "expect_ops: Gemm expected 1, found 2")


def test_a_row_that_passes_now_says_so_and_fails_a_strict_run(project):
    known(project).gated("expect_ops(Gemm=2)")
    said = "passes now: known.toml, row 1 (net, expect_ops): remove this row"
    project.run().outcomes(passed=1).has(said)
    known(project, modelcheck_known_failures_strict="true")
    run = project.run().has(said)
    assert run.result.ret == 1


def test_a_row_that_matches_nothing_is_a_usage_error_before_any_export(project):
    project.conftest(
        """
        import pytest
        from pytest_modelcheck import ModelCase

        def build():
            raise AssertionError("build must not be called")

        CASES = [ModelCase("other", build, lambda seed: (), exporter="torchscript")]

        @pytest.fixture(params=CASES)
        def model_case(request):
            return request.param
        """
    )
    known(project).gated("expect_ops(Gemm=2)")
    project.run().usage_error(
        "modelcheck_known_failures: known.toml, row 1 (net, expect_ops) matches nothing: there is no such case; "
        "cases: other"
    )


def test_a_row_that_no_test_of_a_whole_run_meets_is_one_at_its_end(project):
    known(project, ROW.replace('"net"', '"nets"')).gated("expect_ops(Gemm=2)")
    said = "met by no test of this run: known.toml, row 1 (nets, expect_ops)"
    assert project.run().has(said).result.ret == 4
    assert project.run("test_it.py").has(said).result.ret == 0
    assert project.run("-k", "net").has(said).result.ret == 0


def test_workers_know_the_table_too(project):
    known(project).gated("expect_ops(Gemm=1)")
    project.run("-n1").outcomes(xfailed=1).has("known failure: known.toml, row 1 (net, expect_ops): one Gemm too many")


def test_a_broken_table_ends_the_run(project):
    known(project, "[[failure]]").gated("expect_ops(Gemm=1)")
    project.run().usage_error("modelcheck_known_failures: known.toml, row 1: has no case, gate, reason")
