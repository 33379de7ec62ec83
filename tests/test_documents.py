"""What the documents show is executed, and their tables are complete."""

import re
from pathlib import Path

import pytest

from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.options import OPTION_NAMES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code_blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_example_records_once_and_is_green_then(pytester):
    pytester.makepyfile(test_model=code_blocks(README, "python")[0])
    arguments = ["--modelcheck", "-p", "no:cacheprovider"]
    pytester.runpytest_subprocess(*arguments).assert_outcomes(failed=1)
    pytester.runpytest_subprocess(*arguments, "--snapshot-update").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["mlp * dynamo * 3 -> 3 *", "6 snapshots passed."])


def test_the_pass_of_the_contributing_page_fires_refuses_and_keeps_the_result():
    import onnx_ir as ir

    from pytest_modelcheck.passes import Pass
    from pytest_modelcheck.pipeline import run_pass
    from pytest_modelcheck.rewriting.matching import produced_by
    from pytest_modelcheck.rewriting.rewriter import Rewriter

    source = "from dataclasses import dataclass\nfrom typing import ClassVar\n" + code_blocks(CONTRIBUTING, "python")[0]
    namespace = {"Pass": Pass, "Rewriter": Rewriter, "ir": ir, "produced_by": produced_by}
    exec(source, namespace)
    double_negation = namespace["EliminateDoubleNegation"]()
    header = '<ir_version: 10, opset_import: ["" : 20]>\nagraph (float[2] x) => (float[2] y) '
    fires = ir.from_onnx_text(header + "{ a = Neg(x) b = Neg(a) y = Relu(b) }")
    model, record = run_pass(fires, double_negation)
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert record.delta == -2
    refused = ir.from_onnx_text(header + "{ a = Neg(x) y = Neg(a) }")
    _, record = run_pass(refused, double_negation)
    assert [refusal.reason for refusal in record.refusals] == [
        "the result is a graph output and its replacement cannot take that name"
    ]


@pytest.mark.parametrize("gate", registered_gates().values(), ids=lambda gate: gate.name)
def test_the_readme_lists_every_marker(gate):
    assert f"| `{gate.name}(" in README


def test_the_readme_lists_every_option():
    flags = {f"--{name.replace('_', '-')}" for name in OPTION_NAMES if OPTION_NAMES[name]}
    missing = [name for name in OPTION_NAMES if f"`{name}`" not in README]
    missing += [flag for flag in flags if flag not in README]
    assert missing == []


def test_the_readmes_plain_function_checks_and_raises_nothing(capsys):
    (block,) = [block for block in code_blocks(README, "python") if "import check_export" in block]
    exec(block, {})
    assert capsys.readouterr().out == "3\n"


def test_the_readmes_runtimes_run_the_graphs(project):
    pytest.importorskip("openvino")
    (block,) = [block for block in code_blocks(README, "python") if "expect_runtime" in block]
    project.file("test_deployed.py", block)
    project.run(subprocess=True).outcomes(passed=1)  # an in-process run would drop OpenVINO's modules at its end


def test_the_page_of_fears_names_every_marker_and_what_it_shows_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("old.pt", "reference.npz"):
        (tmp_path / name).touch()
    page = (ROOT / "docs/which_marker.md").read_text(encoding="utf-8")
    gates = registered_gates()
    shown = re.findall(r"`(expect_\w+)\(([^`]*)\)`", page)
    assert {name for name, _ in shown} == set(gates)
    for name, arguments in shown:
        args, kwargs = eval(f"(lambda *a, **k: (a, k))({arguments.replace('...', 'None')})")
        if "..." not in arguments:
            gates[name].expectation(args, kwargs, ())
