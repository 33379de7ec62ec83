"""`expect_runtime`: what it says of graphs that run, that do not load, and of runtimes that are not here."""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import Verdict, runtimes
from pytest_modelcheck.gates import MarkerError
from pytest_modelcheck.gates.runtime import GATE, parse
from pytest_modelcheck.runtimes import Runtime, Session, SessionError, signature_of
from tests.gate_checks import ask, check_of_graph, check_of_module, said

LACKING = """<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]>
g (float[3,3] x) => (float[3,3] y) {
    a = Relu(x)
    y = com.microsoft.Inverse(a)
}
"""


def net():
    return check_of_module(lambda: torch.nn.Linear(3, 4), 2, 3)


@pytest.fixture
def added(monkeypatch):
    """A further runtime is one file that makes this object, and one line in RUNTIMES."""
    return lambda runtime: monkeypatch.setattr(runtimes, "RUNTIMES", (*runtimes.RUNTIMES, runtime))


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "reference"])
def test_every_runtime_loads_both_graphs_and_agrees_with_torch(name):
    pytest.importorskip("onnx" if name == "reference" else name)
    result = ask(net(), "expect_runtime", name, seeds=3)
    title = runtimes.runtime_named(name).title
    assert result.findings == ()
    assert f"torch -> exported in {title} " in result.measured
    assert f"torch -> optimized in {title} " in result.measured
    assert f"(version {runtimes.runtime_named(name).version()}) over " in result.measured
    assert ("weights compared" in result.measured) == (name == "openvino")


def test_one_graph_alone_is_asked_for_by_its_stage():
    result = ask(net(), "expect_runtime", "reference", seeds=1, stage="optimized", varied=False)
    assert result.measured.startswith("torch -> optimized in onnx's reference evaluator ")
    assert "exported" not in result.measured


def _doubling(wrong):
    """A toy runtime for one matrix product, which is all that it knows."""

    def opened(model, how, name):
        import onnx_ir as ir

        graph = ir.load(model) if not isinstance(model, ir.Model) else model
        weight, bias = (value.const_value.numpy() for value in graph.graph.initializers.values())

        def start(feeds):
            (x,) = feeds.values()
            return lambda: [x @ (weight.T if weight.shape[0] == 4 else weight) + (bias if not wrong else -bias)]

        return Session(signature=signature_of(graph, name), how=how, start=start, label="Toy")

    return Runtime(name="toy", package="numpy", install="pip install numpy", open=opened, label="Toy")


def test_a_third_runtime_is_one_object_in_the_registry(added):
    added(_doubling(wrong=False))
    result = ask(net(), "expect_runtime", "toy", seeds=2, stage="exported")
    assert said(result) == ""
    assert "exported in Toy" in result.measured
    assert f"(version {np.__version__})" in result.measured


def test_a_runtime_that_computes_differently_fails_and_is_named(added):
    added(_doubling(wrong=True))
    result = ask(net(), "expect_runtime", "toy", seeds=2, stage="exported")
    (finding,) = result.findings
    assert (finding.gate, finding.verdict) == ("expect_runtime", Verdict.FAIL)
    assert "onnx's reference evaluator agrees with torch: Toy computes exported in Toy differently" in finding.where
    assert "exported in Toy against torch, seed" in finding.context
    assert finding.next.endswith("its conversion, a kernel, or the graph that it was given.")


def test_a_runtime_that_is_not_installed_is_an_error_with_the_one_command(added):
    added(Runtime(name="absent", package="no_such_package", install="pip install absent", open=None))
    result = ask(net(), "expect_runtime", "absent")
    assert said(result) == (
        "[error] expect_runtime: absent expected a runtime to run the graphs, found not installed in net "
        "(torchscript, target portable)\n"
        "  next:  Install it: pip install absent"
    )
    assert result.verdict is Verdict.ERROR


def test_a_provider_that_is_not_here_measures_nothing_and_passes_nothing():
    result = ask(net(), "expect_runtime", "reference", provider="CUDA")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "found nothing measured: this reference has no provider CUDA; it has CPU" in said(result)


def test_a_file_is_compared_with_what_another_runtime_makes_of_it(tmp_path):
    pytest.importorskip("openvino")
    text = '<ir_version: 10, opset_import: ["" : 18]> g (float[2,3] x) => (float[2,3] y) { y = Erf(x) }'
    result = ask(check_of_graph(text, tmp_path), "expect_runtime", "openvino", seeds=2)
    assert said(result) == ""
    assert "exported in onnxruntime -> exported in OpenVINO" in result.measured


def test_an_operator_that_the_runtime_lacks_is_named_with_its_node(tmp_path):
    pytest.importorskip("openvino")
    check = check_of_graph(LACKING, tmp_path)
    result = ask(check, "expect_runtime", "openvino", seeds=2, stage="exported")
    (finding,) = result.findings
    assert (finding.subject, finding.verdict) == ("exported in OpenVINO", Verdict.FAIL)
    assert finding.found == "com.microsoft.Inverse: no such operator"
    assert finding.where == ("com.microsoft:Inverse 'y'",)
    assert finding.next == "Write these modules in operators that OpenVINO has, or export to another opset."


REFUSED = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2,3] x) => (float[2,3] y) {
    [node_tanh_0] a = Tanh(x)
    [node_copy_1] b = Identity(a)
    [node_neg_2] y = Neg(b)
}
"""


def test_a_graph_that_is_loaded_only_after_the_passes_names_the_node_and_the_stage(added, tmp_path):
    def opened(model, how, name):
        if stops := [node.name for node in ir.load(model).graph if node.op_type == "Identity"]:
            raise SessionError(f"{name}: Toy cannot load the model: op=Identity node={stops[0]} Neg is not at fault")
        return runtimes.reference.RUNTIME.open(model, how, name)

    added(Runtime(name="toy", package="numpy", install="pip install numpy", open=opened, label="Toy"))
    (finding,) = ask(check_of_graph(REFUSED, tmp_path), "expect_runtime", "toy", seeds=1).findings
    assert finding.subject == "exported in Toy"
    assert finding.where == ("Identity 'node_copy_1'",)
    assert finding.next == 'Toy loads the optimized graph: where that is deployed, ask for it alone, stage="optimized".'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "openvino", "seeds": 0}, "seeds=0 must be a whole number of at least 1"),
        ({"name": "openvino", "atol": -1}, "atol=-1 must be a finite number of at least 0"),
        ({"name": "openvino", "varied": "no"}, "varied='no' must be True or False"),
        ({"name": "openvino", "stage": "torch"}, "stage 'torch' is unknown; choose exported, optimized or both"),
    ],
)
def test_a_bad_argument_is_a_usage_error(arguments, message):
    with pytest.raises(MarkerError, match=message):
        parse(**arguments)


def test_an_unknown_runtime_is_a_usage_error_with_the_close_match():
    with pytest.raises(MarkerError, match=r"unknown runtime 'openvin' \(did you mean 'openvino'\?\); known: "):
        GATE.expectation(("openvin",), {})
