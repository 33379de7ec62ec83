"""Without --modelcheck nothing of a model is touched; with it, or by ini, the gates run."""

import pytest

SKIPPED = "model checks run with --modelcheck (or ini modelcheck = true)"


def test_a_gated_test_is_skipped_with_the_reason_where_the_flag_is_missing(project):
    project.gated("expect_ops(Gemm=2)").run("-rs", modelcheck=False).outcomes(skipped=1).has(SKIPPED)


@pytest.mark.parametrize(
    "fixture",
    ["modelcheck", "exported", "optimized", "attribution", "hierarchy_report", "fusion_report", "modelcheck_snapshot"],
)
def test_a_test_that_uses_one_of_the_fixtures_is_skipped(project, fixture):
    project.gated(fixtures=fixture).run("-rs", modelcheck=False).outcomes(skipped=1).has(SKIPPED)


def test_other_tests_run_as_ever_beside_skipped_ones(project):
    project.test(
        """
        def test_plain(): pass
        def test_fails(): assert 1 == 2
        @pytest.mark.usefixtures("modelcheck")
        def test_gated(): raise RuntimeError
        """
    ).run(modelcheck=False).outcomes(passed=1, failed=1, skipped=1).has("assert 1 == 2").lacks("= modelcheck =")


def test_without_the_flag_no_heavy_library_is_imported(project):
    project.gated("expect_ops(Gemm=2)", fixtures="modelcheck, modelcheck_snapshot")
    project.file(
        "test_last.py",
        """
        import sys
        def test_nothing_was_loaded():
            heavy = {"torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "numpy", "transformers", "net"}
            assert heavy & set(sys.modules) == set()
        """,
    ).run(modelcheck=False, subprocess=True).outcomes(passed=1, skipped=1)


def test_markers_are_known_to_strict_markers_and_listed_with_their_help(project):
    project.gated("expect_ops(Gemm=2)").run("--strict-markers", modelcheck=False).outcomes(skipped=1)
    listed = project.run("--markers", modelcheck=False)
    listed.has(
        "@pytest.mark.expect_reduction(basis='in_order', total=None, **passes): the pipeline (total) and each",
        "@pytest.mark.expect_ops(stage='optimized', **ops): the graph at this stage",
        "@pytest.mark.expect_accuracy(atol=None, rtol=None, seeds=20, varied=True, provider=None, equal_nan=False, "
        "metric=None, valid='')",
        "@pytest.mark.expect_hierarchy(coverage=None, modules=None, stage='exported', strategy='auto'): this share of",
    )


def test_with_the_flag_the_gates_run(project):
    project.gated("expect_ops(Gemm=2)").run().outcomes(passed=1)
    project.gated("expect_ops(Gemm=3)").run().outcomes(failed=1)


def test_the_ini_switch_runs_them_too(project):
    project.gated("expect_ops(Gemm=3)").ini(modelcheck="true").run(modelcheck=False).outcomes(failed=1)


def test_an_ungated_run_with_the_flag_prints_no_model_summary(project):
    project.test("def test_plain(): pass").run().outcomes(passed=1).lacks("= modelcheck =")


def test_a_fixture_of_the_project_that_is_named_like_one_of_ours_is_its_own_business(project):
    text = """
        import pytest

        @pytest.fixture
        def exported():
            return 1

        def test_it(exported):
            assert exported == 1
    """
    project.file("test_own.py", text).run(modelcheck=False).outcomes(passed=1)
