"""Without any runtime installed: imports, --help, structural gates and the pipeline work; what needs one says which."""

import subprocess
import sys

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.pipeline import optimize
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


CONVOLVED = """<ir_version: 8, opset_import: ["" : 18]>
g (float[1,2,2,2] x) => (float[1,2,2,2] y) <float[1,1,4,4] image = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16},
  float[2,1,3,3] w = {1,0,1,0,1,0,1,0,1, 0,1,0,1,0,1,0,1,0}> {
 folded = Conv(image, w)
 y = Add(x, folded)
}"""


def test_the_pipeline_folds_to_the_same_graph_and_values(monkeypatch):
    """Snapshots of structure must not depend on what is installed."""
    models = [optimize(ir.from_onnx_text(CONVOLVED))]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert not runtime_named("onnxruntime").installed
    models.append(optimize(ir.from_onnx_text(CONVOLVED)))
    assert [[node.op_type for node in model.graph] for model in models] == [["Add"], ["Add"]]
    left, right = (next(iter(model.graph.initializers.values())).const_value.numpy() for model in models)
    np.testing.assert_array_equal(left, right)
