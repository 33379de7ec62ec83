"""What is wrong with a marker is said at collection, before anything is built, with the way out."""

import pytest

from tests.harness import UNBUILDABLE

BOUND = "write a number (72), a comparison ('>=5%', '<4'), a range ('60..80') or a fraction ('12/12')"


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("expect_reduction(total='>=5%%')", f"expect_reduction: total: bound '>=5%%' cannot be read; {BOUND}"),
        ("expect_reduction(fold_constants=True)", f"expect_reduction: fold_constants: bound True is a bool; {BOUND}"),
        (
            "expect_reduction(cleanup_atention='>0')",
            "expect_reduction: pass 'cleanup_atention' is unknown; did you mean 'cleanup_attention'?",
        ),
        ("expect_reduction()", 'expect_reduction: expects nothing; write e.g. total=">=5%" or fold_constants=">0"'),
        (
            "expect_reduction(total=1, basis='isolatd')",
            "expect_reduction: basis 'isolatd' is unknown; choose isolated or in_order",
        ),
        (
            "expect_reduction(total='5/7')",
            "expect_reduction: total='5/7': write a number of nodes or a percentage",
        ),
        ("expect_acuracy()", "marker 'expect_acuracy' is unknown; did you mean 'expect_accuracy'?"),
        ("expect_accuracy(tol=1)", "expect_accuracy: got an unexpected keyword argument 'tol'; did you mean 'rtol'?"),
        ("expect_accuracy(1, 1, 1, True, 1)", "expect_accuracy: too many positional arguments"),
        ("expect_accuracy(atol=-1)", "expect_accuracy: atol=-1 must be a finite number of at least 0"),
        ("expect_accuracy(atol=float('nan'))", "expect_accuracy: atol=nan must be a finite number of at least 0"),
        ("expect_accuracy(rtol=float('inf'))", "expect_accuracy: rtol=inf must be a finite number of at least 0"),
        ("expect_accuracy(rtol={'y': '1'})", "expect_accuracy: rtol='1' must be a finite number of at least 0"),
        ("expect_accuracy(seeds=0)", "expect_accuracy: seeds=0 must be a whole number of at least 1"),
        ("expect_accuracy(seeds=True)", "expect_accuracy: seeds=True must be a whole number of at least 1"),
        ("expect_accuracy(seeds=2.0)", "expect_accuracy: seeds=2.0 must be a whole number of at least 1"),
        ("expect_ops()", "expect_ops: names no operator; write e.g. Attention=12"),
        (
            "expect_ops(stage='optimised', Gemm=1)",
            "expect_ops: stage 'optimised' is unknown; choose exported or optimized",
        ),
        ("expect_ops(Gemm='50%')", "expect_ops: Gemm='50%': a node count is a plain number"),
        ("expect_ops(Gemm='1/2')", "expect_ops: Gemm='1/2': a node count is a plain number"),
        ("expect_ops(Transpse='<=4')", "expect_ops: ONNX has no operator 'Transpse'; did you mean 'Transpose'?"),
        (
            "expect_ops(XyzXyz=0)",
            "expect_ops: ONNX has no operator 'XyzXyz' (one of another domain is written domain:name)",
        ),
        ("expect_ops(Gemm=None)", f"expect_ops: Gemm: bound None is a NoneType; {BOUND}"),
        ("expect_hierarchy(coverage=5)", 'expect_hierarchy: coverage=5: write a percentage, e.g. coverage=">=95%"'),
        ("expect_hierarchy()", 'expect_hierarchy: expects nothing; write e.g. coverage=">=95%"'),
        (
            "expect_hierarchy(coverge='>=5%')",
            "expect_hierarchy: got an unexpected keyword argument 'coverge'; did you mean 'coverage'?",
        ),
        (
            "expect_hierarchy(modules='>=5%', stage='both')",
            "expect_hierarchy: stage 'both' is unknown; choose exported or optimized",
        ),
        ("expect_latency(speedup='2%')", "expect_latency: speedup='2%': write a ratio, e.g. speedup=\">=1.02\""),
    ],
)
def test_a_bad_marker_is_an_error_of_its_file_before_anything_is_built(project, marker, message):
    project.conftest(UNBUILDABLE).gated(marker).run().bad_marker(f"test_it.py::test_net: {message}")


def test_a_gate_on_a_test_without_the_fixture_is_a_usage_error(project):
    run = project.conftest(UNBUILDABLE).gated("expect_ops(Gemm=1)", fixtures="").run()
    run.bad_marker(
        "test_it.py::test_net: expect_ops has nothing to check: the test does not use the fixture `modelcheck`; "
        'take it as an argument, or add @pytest.mark.usefixtures("modelcheck")'
    )


def test_a_gate_on_a_test_that_only_uses_a_part_of_the_check_is_fine(project):
    project.gated("expect_ops(Gemm=2)", fixtures="exported").run().outcomes(passed=1)


def test_a_bad_marker_on_a_class_or_module_names_the_test_too(project):
    project.conftest(UNBUILDABLE).test(
        """
        pytestmark = pytest.mark.expect_ops(Gemm=">=one")
        class TestNet:
            def test_net(self, modelcheck): pass
        """
    ).run().bad_marker(f"test_it.py::TestNet::test_net: expect_ops: Gemm: bound '>=one' cannot be read; {BOUND}")


BAD_AND_GOOD = """
@pytest.mark.expect_ops(Gemm="many")
@pytest.mark.expect_hierarchy(coverage=">=101%")
@pytest.mark.parametrize("size", [1, 2])
def test_first(modelcheck, size): pass

@pytest.mark.expect_accuracy(seeds=0)
def test_second(modelcheck): pass
"""


def test_all_bad_markers_of_a_file_are_named_at_once_each_one_time(project):
    project.conftest(UNBUILDABLE).test(BAD_AND_GOOD)
    run = project.run().bad_marker(
        f"test_it.py::test_first: expect_ops: Gemm: bound 'many' cannot be read; {BOUND}",
        "test_it.py::test_first: expect_hierarchy: coverage: bound '>=101%' never holds",
        "test_it.py::test_second: expect_accuracy: seeds=0 must be a whole number of at least 1",
    )
    run.has("Interrupted: 1 error during collection")
    assert run.text.count("\ntest_it.py::test_first: expect_ops") == 1


def test_tests_of_other_files_run_where_pytest_is_to_go_on(project):
    project.test(BAD_AND_GOOD)
    (project.path / "test_other.py").write_text("def test_other(): pass\n", encoding="utf-8")
    run = project.run("--continue-on-collection-errors")
    run.bad_marker("test_it.py::test_second: expect_accuracy: seeds=0 must be a whole number of at least 1")
    run.has("1 passed, 1 error")


def test_a_bad_marker_is_an_error_under_xdist_too(project):
    run = project.conftest(UNBUILDABLE).gated("expect_ops()").run("-n", "2")
    assert run.result.ret != 0
    run.has("expect_ops: names no operator; write e.g. Attention=12").lacks("build must not be called")


def test_a_marker_of_somebody_else_that_begins_alike_is_left_alone(project):
    project.ini(markers="expect_rain: not ours").gated("expect_rain(1)").run().outcomes(passed=1)


def test_a_bad_marker_that_is_not_run_does_not_stop_a_run_without_the_flag(project):
    project.conftest(UNBUILDABLE).gated("expect_ops()").run(modelcheck=False).outcomes(skipped=1)


def test_an_undefined_model_case_is_said_with_both_ways_to_define_one(project):
    project.conftest("").gated("expect_ops(Gemm=1)").run().outcomes(errors=1).has(
        "modelcheck does not know which model to check: define a fixture `model_case` that returns a ModelCase, "
        'or add @pytest.mark.parametrize("model_case", [...])'
    )


def test_a_model_case_of_another_type_is_named(project):
    project.conftest("import pytest\n@pytest.fixture\ndef model_case(): return 'bert'\n").gated("expect_ops(Gemm=1)")
    project.run().outcomes(errors=1).has("the fixture `model_case` must return a ModelCase, got str")
