"""Memcpy nodes: counted in a graph and its subgraphs, and none where the CPU runs everything."""

import onnx
import pytest

from pytest_modelcheck.graph.files import save_model
from pytest_modelcheck.latency.memcpy import copies_across, copies_text, count_copies
from pytest_modelcheck.runtimes import How, SessionError, missing_provider
from tests.latency.graphs_with_weights import two_layers

AS_CUDA_RUNS_IT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x, bool c) => (float[2] y) {
    a = MemcpyFromHost(x)
    y = If(c) <
        then_branch = t () => (float[2] p) { b = MemcpyToHost(a) p = MemcpyFromHost(b) },
        else_branch = e () => (float[2] q) { q = Identity(a) }
    >
}"""


def test_copies_are_counted_in_subgraphs_too():
    copies = count_copies(onnx.parser.parse_model(AS_CUDA_RUNS_IT))
    assert copies == {"MemcpyFromHost": 2, "MemcpyToHost": 1}
    assert copies_text(copies) == "3 Memcpy nodes (MemcpyFromHost 2, MemcpyToHost 1)"


def test_the_cpu_copies_nothing(tmp_path):
    save_model(two_layers(), tmp_path / "model.onnx")
    copies = copies_across(tmp_path / "model.onnx", How())
    assert copies == {}
    assert copies_text(copies) == "0 Memcpy nodes"


def test_providers_have_short_names_and_what_is_missing_is_said():
    assert missing_provider("CPU") == ""
    assert missing_provider("NoSuch").startswith("this onnxruntime has no provider NoSuch; it has ")


def test_a_provider_that_is_not_here_is_an_error(tmp_path):
    save_model(two_layers(), tmp_path / "model.onnx")
    with pytest.raises(SessionError, match="no execution provider 'NoSuchExecutionProvider'"):
        copies_across(tmp_path / "model.onnx", How(provider="NoSuch"))


@pytest.mark.skipif(bool(missing_provider("CUDA")), reason=missing_provider("CUDA") or "CUDA is here")
def test_on_cuda_a_chain_of_matrix_products_needs_no_copy(tmp_path):
    save_model(two_layers(), tmp_path / "model.onnx")
    assert copies_across(tmp_path / "model.onnx", How(provider="CUDA")) == {}
