"""A plugin that runs a failed test again, as pytest-rerunfailures does: what counts is the last attempt."""

from xml.etree import ElementTree

import pytest

AGAIN = """
    import pytest
    from _pytest.runner import runtestprotocol
    from pytest_modelcheck import ModelCase

    @pytest.fixture(scope="session")
    def model_case():
        import net
        return ModelCase("net", net.build, net.inputs, exporter="torchscript")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for attempt in range(2):
            item._initrequest()
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            again = attempt == 0 and any(report.failed for report in reports)
            for report in reports:
                if again and report.failed:
                    report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not again:
                break
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True
"""
ATTEMPT = """
    attempts = []

    @pytest.mark.expect_ops(Gemm=2)
    def test_net(modelcheck, {snapshot}):
        attempts.append(1)
        assert len(attempts) > 1
        {body}
"""


@pytest.fixture
def again(project):
    return project.conftest(AGAIN)


def test_a_test_that_passes_when_it_runs_again_is_a_test_that_passed(again):
    again.test(ATTEMPT.format(snapshot="tmp_path", body="pass"))
    run = again.run("--modelcheck-report=out.json", "--modelcheck-report=out.md", "--junitxml=out.xml")
    assert run.result.ret == 0
    report = again.report()
    assert [row["outcome"] for row in report["tests"]] == ["passed"]
    assert "# Model checks: 1 test passed" in (again.path / "out.md").read_text(encoding="utf-8")
    *_, last = ElementTree.parse(again.path / "out.xml").iter("testcase")
    assert [each.get("value") for each in last.iter("property")] == ["pass: Gemm 2"]


def test_what_the_first_attempt_found_is_forgotten(again):
    lock = "assert modelcheck.interface == modelcheck_snapshot"
    again.gated("expect_ops(Gemm=2)", body=lock, fixtures="modelcheck, modelcheck_snapshot").run("--snapshot-update")
    source = f"""
    import pathlib
    attempts = []

    @pytest.mark.expect_ops(Gemm=2)
    def test_net(modelcheck, modelcheck_snapshot):
        attempts.append(1)
        file = next(pathlib.Path("snapshots").rglob("*.interface.txt"))
        text = file.read_text()
        if len(attempts) == 1:
            file.write_text(text.replace("float32", "float16"))
        try:
            {lock}
        finally:
            file.write_text(text)
    """
    run = again.test(source).run("--modelcheck-report=out.json")
    assert run.result.ret == 0
    (row,) = again.report()["tests"]
    assert (row["outcome"], row["findings"], row["locked"]) == ("passed", [], ["interface"])


def test_a_test_that_fails_twice_has_failed_once(again):
    run = again.gated("expect_ops(Gemm=3)").run("--modelcheck-report=out.json")
    assert run.result.ret == 1
    (row,) = again.report()["tests"]
    assert (row["outcome"], len(row["gates"][0]["findings"])) == ("failed", 1)
