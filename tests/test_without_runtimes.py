"""Without any runtime installed: imports, --help, structural gates and the pipeline work; what needs one says which."""

import subprocess
import sys

import onnx_ir as ir
import pytest

from pytest_modelcheck.pipeline import run_pipeline
from pytest_modelcheck.runtimes import runtime_named
from tests.harness import CONFTEST, MODEL

BLOCKED = "import sys; sys.modules.update(onnxruntime=None, openvino=None)\n"
TESTS = """
import pytest

@pytest.mark.expect_ops(Gemm=2)
@pytest.mark.expect_reduction(total=0)
@pytest.mark.expect_hierarchy(coverage=">=90%")
@pytest.mark.expect_fusion(subgraphs=">=1")
def test_structure(modelcheck):
    assert modelcheck.attribution.nodes_after == 3

@pytest.mark.expect_accuracy(seeds=1)
def test_numbers(modelcheck):
    pass

@pytest.mark.expect_latency(speedup=">=0.1")
def test_speed(modelcheck):
    pass

@pytest.mark.expect_runtime("openvino", seeds=1)
def test_deployed(modelcheck):
    pass

@pytest.mark.expect_runtime("reference", seeds=1)
def test_evaluator(modelcheck):
    pass
"""


def without(script, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + script, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_the_package_the_plugin_and_every_room_but_the_runtimes_own_files_import():
    done = without(
        "import pytest_modelcheck, pytest_modelcheck.plugin, pytest_modelcheck.check, pytest_modelcheck.accuracy\n"
        "import pytest_modelcheck.latency, pytest_modelcheck.foreign, pytest_modelcheck.golden\n"
        "from pytest_modelcheck.gates import registered_gates\n"
        "print(len([gate.help for gate in registered_gates().values()]) > 10)\n"
    )
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_help_is_shown():
    done = without("import pytest; sys.exit(pytest.main(['--help']))")
    assert done.returncode == 0, done.stderr
    assert "--modelcheck" in done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name, text in (("conftest.py", CONFTEST), ("net.py", MODEL)):
        (folder / name).write_text("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    (folder / "test_net.py").write_text(TESTS)
    script = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    return without(script, "--modelcheck", "--modelcheck-no-cache", "-rA", "-p", "no:cacheprovider", cwd=folder).stdout


def test_structural_gates_pass(run):
    assert "PASSED test_net.py::test_structure" in run, run


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("test_numbers", "onnxruntime is not installed: pip install 'pytest-modelcheck[onnxruntime]'"),
        ("test_speed", "onnxruntime is not installed: pip install 'pytest-modelcheck[onnxruntime]'"),
        ("test_deployed", "Install it: pip install 'pytest-modelcheck[openvino]'"),
    ],
)
def test_a_gate_that_needs_one_is_an_error_with_the_one_command(run, test, said):
    assert f"FAILED test_net.py::{test}" in run
    assert said in run


def test_onnxs_own_evaluator_is_always_there(run):
    assert "PASSED test_net.py::test_evaluator" in run


def test_names_of_a_domain_whose_runtime_is_missing_are_the_users_own_and_the_domains_are_known():
    done = without(
        "from pytest_modelcheck.gates.ops import wrong_operator\n"
        "print([wrong_operator(op) for op in ('com.microsoft:FusedCnv', 'com.microsft:FusedConv', 'Cnv')])\n"
    )
    said = ["", "'com.microsft:FusedConv': there is no domain 'com.microsft'; did you mean 'com.microsoft'?"]
    assert done.stdout.startswith(f"[{said[0]!r}, {said[1]!r}, "), done.stderr
    assert "ONNX has no operator 'Cnv'; did you mean 'Conv'?" in done.stdout


CONSTANTS = """<ir_version: 8, opset_import: ["" : 18]>
g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> {
 a = OP(w)
 y = Add(x, a)
}"""


@pytest.mark.parametrize(("op", "folded"), [("Exp", True), ("Neg", True), ("MatMul", False)])
def test_constants_that_onnxs_evaluator_computes_wrongly_are_refused_and_the_others_folded(monkeypatch, op, folded):
    text = CONSTANTS.replace("OP(w)", "MatMul(w, s)" if op == "MatMul" else f"{op}(w)")
    text = text.replace("3, 4}>", "3, 4}, float[4,4] s = {1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1}>")
    _, (with_it,) = run_pipeline(ir.from_onnx_text(text), ["fold_constants"])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not runtime_named("onnxruntime").installed
    _, (without_it,) = run_pipeline(ir.from_onnx_text(text), ["fold_constants"])
    assert with_it.ops_after == {"Add": 1}
    assert without_it.ops_after == ({"Add": 1} if folded else {"Add": 1, "MatMul": 1})
    reasons = [refusal.reason for refusal in without_it.refusals]
    assert reasons == ([] if folded else ["onnxruntime is not installed"])
