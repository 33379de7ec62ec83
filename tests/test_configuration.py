"""Gates from pyproject.toml: where they come from, what wins, and what cannot be used."""

import pytest

pytestmark = pytest.mark.usefixtures("forked_python")

GENERAL = """
    [tool.modelcheck.gates]
    expect_ops = { Gemm = 2 }
"""


def configured(project, text, name="pyproject.toml"):
    return project.file(name, text)


@pytest.fixture
def plain(project):
    """A test without markers."""
    return project.gated()


@pytest.mark.parametrize(("gemms", "outcome"), [(2, {"passed": 1}), (3, {"failed": 1})])
def test_a_gate_of_all_cases_is_judged(plain, gemms, outcome):
    configured(plain, f"[tool.modelcheck.gates]\nexpect_ops = {{ Gemm = {gemms} }}")
    run = plain.run().outcomes(**outcome)
    run.has("modelcheck: pyproject.toml [tool.modelcheck]: expect_ops")
    if gemms == 3:
        run.has("expect_ops: Gemm expected 3, found 2 in net (optimized, torchscript, target portable)")
        run.has("FAILED test_it.py::test_net - expect_ops in net: Gemm expected 3, found 2")
        run.has("what it means: python -m pytest_modelcheck explain expect_ops")


@pytest.mark.parametrize(
    ("markers", "text", "said"),
    [
        ((), GENERAL.replace("2", "3"), "write Gemm=2 in pyproject.toml [tool.modelcheck]."),
        (
            (),
            GENERAL + '\n[tool.modelcheck.cases."n*"]\ngates = { expect_ops = { Gemm = 3 } }\n',
            'write Gemm=2 in pyproject.toml [tool.modelcheck.cases."n*"].',
        ),
        (("expect_ops(Gemm=3)",), GENERAL, "write Gemm=2 in the marker."),
    ],
)
def test_the_next_step_names_the_place_of_the_bound(project, markers, text, said):
    text = text.replace("\n    ", "\n")
    configured(project.gated(*markers), text).run().outcomes(failed=1).has(f"next:  If the change is meant, {said}")


def test_a_test_without_the_fixture_gets_no_gate(project):
    configured(project.test("def test_plain(): pass"), GENERAL.replace("2", "7")).run().outcomes(passed=1)


def test_the_tests_own_marker_wins_and_takes_what_it_does_not_say(project):
    configured(project.gated("expect_ops(Gemm=2)"), GENERAL.replace("Gemm = 2", "Gemm = 7, Relu = 9"))
    run = project.run().outcomes(failed=1)
    run.has("expect_ops: Relu expected 9, found 1").lacks("Gemm expected")


def test_an_argument_by_position_is_the_one_of_that_name(project):
    table = """
        [tool.modelcheck.gates]
        expect_runtime = { name = "openvino", seeds = 1, varied = false }
    """
    configured(project.gated('expect_runtime("reference")'), table)
    project.run("--modelcheck-report=out.json").outcomes(passed=1)
    (row,) = project.report()["tests"]
    assert [gate["gate"] for gate in row["gates"]] == ["expect_runtime"]
    assert "openvino" not in str(row["gates"])


PATTERNS = """
    [tool.modelcheck.gates]
    expect_ops = { Gemm = 2 }

    [tool.modelcheck.cases."n*"]
    gates = { expect_ops = { Relu = 1 } }

    [tool.modelcheck.cases."other"]
    gates = { expect_ops = { Relu = 5 } }
"""


def test_tables_of_patterns_add_to_the_general_one_and_the_last_wins(plain):
    configured(plain, PATTERNS).run().outcomes(passed=1)
    plain.replace("pyproject.toml", "Relu = 1", "Relu = 4").run().outcomes(failed=1).has("Relu expected 4, found 1")


def test_false_switches_a_gate_off(plain):
    table = GENERAL.replace("2", "7") + '\n[tool.modelcheck.cases."net"]\ngates = { expect_ops = false }\n'
    run = configured(plain, table.replace("\n    ", "\n")).run().outcomes(passed=1)
    run.has('modelcheck: pyproject.toml [tool.modelcheck.cases."net"]: no expect_ops')


@pytest.mark.parametrize(("given", "target"), [((), "opset23"), (("--modelcheck-target=tflite",), "tflite")])
def test_the_target_of_a_case_yields_to_the_command_line_alone(project, given, target):
    project.gated("expect_ops(Gemm=5)").ini(modelcheck_target="onnxruntime")
    configured(project, '[tool.modelcheck.cases."net"]\ntarget = "opset23"\n')
    project.run(*given).outcomes(failed=1).has(f"in net (optimized, torchscript, target {target})")


def test_in_workers_too(plain):
    configured(plain, GENERAL.replace("2", "3")).run("-n", "1", subprocess=True).outcomes(failed=1).has("expected 3")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.modelcheck]\ngate = 1", "[tool.modelcheck]: 'gate' is unknown; did you mean 'gates'?"),
        ("[tool.modelcheck]\ngates = 1", "[tool.modelcheck.gates]: expected a table, got 1"),
        (
            "[tool.modelcheck.gates]\nexpect_op = {}",
            "[tool.modelcheck.gates]: 'expect_op' is unknown; did you mean 'expect_ops'?",
        ),
        (
            "[tool.modelcheck.gates]\nexpect_accuracy = { seedz = 3 }",
            "[tool.modelcheck]: expect_accuracy: got an unexpected keyword argument 'seedz'; did you mean 'seeds'?",
        ),
        (
            "[tool.modelcheck.gates]\nexpect_hierarchy = [1, 2, 3, 4, 5, 6]",
            "[tool.modelcheck]: expect_hierarchy: too many positional arguments",
        ),
        (
            '[tool.modelcheck.cases."b*"]\ntarget = "tflyte"',
            """[tool.modelcheck.cases."b*"]: target 'tflyte' is unknown; did you mean 'tflite'?""",
        ),
        (
            '[tool.modelcheck.cases."[ab]"]\ngates = { expect_ops = { Gem = 1 } }',
            "[tool.modelcheck.cases.\"[ab]\"]: expect_ops: ONNX has no operator 'Gem'; did you mean 'Gemm'?",
        ),
    ],
)
def test_what_cannot_be_used_is_a_usage_error_before_any_export(plain, text, said):
    configured(plain, text)
    plain.run().usage_error(said if said.startswith("/") else f"pyproject.toml {said}")


def test_without_model_checks_nothing_is_read(plain):
    configured(plain, "[tool.modelcheck]\ngate = 1").run(modelcheck=False).outcomes(skipped=1)


def test_a_file_that_is_no_toml_is_left_to_pytest(plain):
    run = configured(plain, "[tool.modelcheck").run()
    assert run.result.ret == pytest.ExitCode.USAGE_ERROR
    run.has("pyproject.toml: Expected ']'")
