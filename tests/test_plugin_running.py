"""Gates run after the body, every one of them, and report together with whatever the body did."""

import pytest

OPS = "expect_ops: Gemm expected 3, found 2 in net (optimized, torchscript, target portable)"
TOTAL = "expect_reduction: total expected >=5%, found 0 nodes removed (0.0% of 3) in net"


def test_all_gates_report_in_the_order_of_their_markers(project):
    run = project.gated("expect_reduction(total='>=5%')", "expect_accuracy(seeds=1)", "expect_ops(Gemm=3)").run()
    run.outcomes(failed=1).has(TOTAL, OPS).lacks("Traceback", "gates/")
    assert run.text.index(TOTAL) < run.text.index(OPS)
    run = project.gated("expect_ops(Gemm=3)", "expect_reduction(total='>=5%')").run()
    assert run.text.index(OPS) < run.text.index(TOTAL)


def test_gates_run_after_the_body(project):
    project.gated("expect_ops(Gemm=2)", body="assert 'export' not in vars(modelcheck)").run().outcomes(passed=1)


def test_one_marker_twice_is_two_gates(project):
    run = project.gated("expect_ops(Gemm=3)", "expect_ops(stage='exported', Relu=2)").run().outcomes(failed=1)
    run.has(OPS, "expect_ops: Relu expected 2, found 1 in net (exported, torchscript)")


def test_a_failing_body_keeps_its_traceback_and_carries_the_findings(project):
    run = project.gated("expect_ops(Gemm=3)", body="assert 1 == 2").run().outcomes(failed=1)
    run.has("> assert 1 == 2", "assert 1 == 2", "the gates of this test say:", OPS)
    run.lacks("gates/evaluate.py", "session.py")


def test_a_failing_body_with_green_gates_says_nothing_of_gates(project):
    run = project.gated("expect_ops(Gemm=2)", body="assert 1 == 2").run().outcomes(failed=1)
    run.has("assert 1 == 2").lacks("the gates of this test say", "expect_ops:")


@pytest.mark.parametrize("raising", ["raise ValueError('mine')", "pytest.fail('mine')"])
def test_whatever_a_body_raises_stays_the_failure(project, raising):
    project.gated("expect_ops(Gemm=3)", body=raising).run().outcomes(failed=1).has("mine", OPS)


def test_xfail_takes_a_gate_that_fails(project):
    project.gated("xfail(reason='known')", "expect_ops(Gemm=3)").run("-rx").outcomes(xfailed=1).has("known")


def test_xfail_of_a_test_whose_gates_pass_is_an_unexpected_pass(project):
    project.gated("xfail(strict=False)", "expect_ops(Gemm=2)").run().outcomes(xpassed=1)
    project.gated("xfail(strict=True)", "expect_ops(Gemm=2)").run().outcomes(failed=1).has("[XPASS(strict)]")


def test_xfail_inside_a_body_stays_an_xfail(project):
    project.gated("expect_ops(Gemm=3)", body="pytest.xfail('later')").run().outcomes(xfailed=1)


def test_xfail_for_other_exceptions_does_not_hide_a_gate(project):
    project.gated("xfail(raises=ZeroDivisionError)", "expect_ops(Gemm=3)").run().outcomes(failed=1).has(OPS)


def test_a_body_that_skips_runs_no_gate(project):
    run = project.gated("expect_ops(Gemm=3)", body="pytest.skip('not today')").run("-rs").outcomes(skipped=1)
    run.has("not today").lacks("expect_ops:")


def test_a_skip_marker_wins_and_builds_nothing(project):
    project.replace("net.py", "return Net()", "raise AssertionError")
    project.gated("skip(reason='never')", "expect_ops(Gemm=3)").run().outcomes(skipped=1)


BREAKING = """
    from pytest_modelcheck.check.graphs import Graphs

    def broken(self, stage):
        raise ZeroDivisionError("division by zero")

    Graphs.op_counts = broken
"""


def test_a_gate_that_breaks_is_an_error_and_hides_no_other(project, monkeypatch):
    from pytest_modelcheck.check.graphs import Graphs

    monkeypatch.setattr(Graphs, "op_counts", Graphs.op_counts)  # taken back after the test
    project.gated("expect_ops(Gemm=2)", "expect_reduction(total='>=5%')", body=BREAKING)
    run = project.run().outcomes(failed=1).lacks("Traceback")
    run.has(
        "[error] expect_ops: verdict expected a measurement, found the gate broke: ZeroDivisionError: division by zero",
        "where: ",
        TOTAL,
    )


def test_markers_of_class_and_module_are_gates_of_each_test(project):
    run = project.test(
        """
        pytestmark = pytest.mark.expect_ops(Gemm=3)

        @pytest.mark.expect_ops(Relu=2)
        @pytest.mark.usefixtures("modelcheck")
        class TestNet:
            @pytest.mark.expect_reduction(total=">=5%")
            def test_it(self): pass
        """
    ).run()
    run.outcomes(failed=1).has(OPS, "expect_ops: Relu expected 2, found 1 in net", TOTAL)
    assert run.text.index(OPS) < run.text.index("Relu expected 2") < run.text.index(TOTAL)


def test_a_parametrized_model_case_has_the_name_and_exporter_as_id(project):
    project.conftest("").test(
        """
        from pytest_modelcheck import ModelCase
        from net import build, inputs

        CASES = [ModelCase("one", build, inputs, exporter="torchscript"), ModelCase("two", build, inputs)]

        @pytest.mark.parametrize("model_case", CASES)
        @pytest.mark.expect_ops(Gemm=2)
        def test_net(modelcheck): pass
        """
    ).run("-v", "-k", "one").outcomes(passed=1, deselected=1).has("test_it.py::test_net[one-torchscript] PASSED")
    project.run("--collect-only", "-q").has("test_it.py::test_net[two-dynamo]")


def test_two_tests_of_one_case_export_once(project):
    project.replace("net.py", "return Net()", "print('BUILT'); return Net()").test(
        """
        @pytest.mark.expect_ops(Gemm=2)
        def test_one(modelcheck): pass
        @pytest.mark.expect_ops(Gemm=2)
        def test_two(modelcheck): pass
        """
    )
    run = project.run("-s").outcomes(passed=2)
    assert run.text.count("BUILT") == 1


def test_every_fixture_hands_out_its_part(project):
    body = """
    assert exported.path.is_file()
    assert attribution.nodes_before == 3 == attribution.nodes_after
    assert len(list(optimized.graph)) == 3
    assert hierarchy_report.coverage == 1.0
    assert fusion_report.subgraphs
    assert modelcheck.exported is exported
    """
    names = "modelcheck, exported, optimized, attribution, hierarchy_report, fusion_report"
    project.gated(body=body, fixtures=names).run().outcomes(passed=1)


def test_a_case_of_a_file_runs_all_gates_that_need_no_torch(project):
    project.gated(body="import shutil; shutil.copy(modelcheck.exported.path, 'net.onnx')").run().outcomes(passed=1)
    project.conftest(
        """
        import pytest
        from pathlib import Path
        from pytest_modelcheck import ModelCase

        @pytest.fixture
        def model_case():
            return ModelCase.from_onnx(Path(__file__).with_name("net.onnx"))
        """
    )
    project.gated("expect_ops(Gemm=2)", "expect_accuracy(seeds=2)", "expect_reduction(total=0)").run().outcomes(
        passed=1
    )
    run = project.gated("expect_hierarchy(modules='>=90%')").run().outcomes(failed=1)
    run.has("[error] expect_hierarchy: modules expected >=90%, found no torch module that ran in net (exported, onnx)")


def test_torchs_structured_trace_is_not_shown_below_a_failure(project):
    project.gated("expect_ops(Gemm=7)", body="modelcheck.fusion").run().outcomes(failed=1).lacks("torch.__trace")


def test_what_a_test_measured_is_let_go_of_after_it(project):
    project.test(
        """
        import gc
        import weakref
        import net
        import pytest
        from pytest_modelcheck import ModelCase

        checks = weakref.WeakSet()

        @pytest.fixture(params=range(4))
        def model_case(request):
            return ModelCase(f"net{request.param}", net.build, net.inputs, exporter="torchscript")

        @pytest.mark.expect_ops(Gemm=2)
        def test_net(modelcheck):
            checks.add(modelcheck)
            gc.collect()
            assert len(checks) <= 2  # the last one is kept for other tests of its case
        """
    )
    project.run().outcomes(passed=4)
