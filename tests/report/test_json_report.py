"""--modelcheck-report: schema, content, when it is written, and that it is whole or not there."""

import json
import math

import pytest

from pytest_modelcheck.report.files import write_report

TWO = """
    @pytest.mark.expect_ops(Gemm=3)
    @pytest.mark.expect_accuracy(seeds=1)
    def test_red(modelcheck, modelcheck_snapshot):
        assert modelcheck.attribution == modelcheck_snapshot

    @pytest.mark.expect_hierarchy(coverage=">=95%")
    def test_green(modelcheck): pass

    def test_plain(): pass
"""


def test_the_content_of_a_run_with_a_failed_test(project):
    project.test(TWO).run("--modelcheck-report=deep/out.json").outcomes(failed=1, passed=2)
    report = project.report("deep/out.json")
    assert report["schema"] == 1
    assert report["run"].keys() == {"date", "commit", "command", "python"}
    assert report["run"]["command"].startswith("pytest --modelcheck ")
    red, green = report["tests"]
    assert (red["test"], red["outcome"]) == ("test_it.py::test_red", "failed")
    assert [(gate["gate"], gate["verdict"]) for gate in red["gates"]] == [
        ("expect_ops", "fail"),
        ("expect_accuracy", "pass"),
    ]
    ops = red["gates"][0]
    assert ops["measured"] == "Gemm 2"
    assert ops["findings"] == [
        {
            "gate": "expect_ops",
            "model": "net",
            "subject": "Gemm",
            "expected": "3",
            "found": "2",
            "context": "optimized, torchscript, target portable",
            "where": ["first: 1 x Gemm", "last: 1 x Gemm"],
            "next": "If the change is meant, write Gemm=2 in the marker.",
            "verdict": "fail",
            "missed": False,
        }
    ]
    assert red["findings"][0]["gate"] == "snapshot"
    model = red["model"]
    assert (model["name"], model["exporter"], model["target"]) == ("net", "torchscript", "portable")
    assert model["nodes"] == {"before": 3, "after": 3, "constants_before": 0, "constants_after": 0}
    assert model["passes"][0]["name"] == "eliminate_dead_nodes"
    assert model["accuracy"]["seeds"] == 6
    assert model["accuracy"]["variants"] == ["large values", "ones", "zeros", "U(0, 1)", "N(-2, 1)"][::-1]
    assert model["versions"]["torch"].startswith("2.")
    assert "latency" not in model
    assert (green["outcome"], green["gates"][0]["verdict"]) == ("passed", "pass")
    assert green["model"]["hierarchy"]["coverage"] == 1.0


def test_a_failed_export_is_in_the_report_with_its_kind(project):
    project.replace("net.py", "torch.randn(2, 3)", "torch.randn(2, 5)")
    project.gated("expect_ops(Gemm=2)").run("--modelcheck-report=out.json").outcomes(failed=1)
    (test,) = project.report()["tests"]
    assert test["model"]["failure"]["kind"] == "forward_failed"
    assert test["gates"][0]["verdict"] == "error"


def test_a_test_whose_fixture_failed_is_in_the_report_and_the_summary(project):
    project.replace("net.py", "torch.randn(2, 3)", "torch.randn(2, 5)")
    run = project.gated(fixtures="attribution").run("--modelcheck-report=out.json").outcomes(errors=1)
    run.has("export failed: forward_failed")
    assert [test["outcome"] for test in project.report()["tests"]] == ["failed"]


def test_two_reports_and_one_by_ini(project):
    project.gated("expect_ops(Gemm=2)").run("--modelcheck-report=a.json", "--modelcheck-report=b.json")
    assert project.report("a.json") == project.report("b.json")
    project.ini(modelcheck_report="c.json").run().outcomes(passed=1)
    assert len(project.report("c.json")["tests"]) == 1


def test_a_run_without_the_flag_leaves_the_last_report_alone(project):
    project.ini(modelcheck_report="out.json").gated("expect_ops(Gemm=2)").run()
    project.run(modelcheck=False).outcomes(skipped=1)
    assert len(project.report()["tests"]) == 1


def test_a_report_that_cannot_be_written_ends_the_run_with_the_reason(project):
    (project.path / "out.json").mkdir()
    run = project.gated("expect_ops(Gemm=3)").run("--modelcheck-report=out.json")
    assert run.result.ret == 4
    run.has("ERROR: --modelcheck-report: out.json cannot be written: ", "Gemm expected 3").lacks("INTERNALERROR")
    assert list((project.path / "out.json").iterdir()) == []


def test_nan_in_the_accuracy_becomes_text(project):
    project.replace("net.py", "return Net()", "net = Net(); net.last.bias.data[0] = float('nan'); return net")
    project.gated("expect_accuracy(seeds=1)").run("--modelcheck-report=out.json").outcomes(failed=1)
    figures = project.report()["tests"][0]["model"]["accuracy"]
    assert figures["passed"] is False
    assert {pair["scaled_max"] for pair in figures["pairs"]} == {"nan"}
    assert figures["text"] == "nan"


def test_nan_that_nobody_turned_into_text_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "out.json"
    write_report([], path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report([{"test": math.nan}], path)
    assert json.loads(path.read_text()) == {"schema": 1, "run": {}, "exit_status": 0, "tests": []}
    assert list(tmp_path.iterdir()) == [path]
