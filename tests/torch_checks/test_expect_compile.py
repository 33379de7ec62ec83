"""expect_compile: where torch.compile breaks the graph, and what compiles it again."""

import torch
from gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck


class Breaking(torch.nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            x = x + 1
        return x * 2


class Whole(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2


def test_a_forward_of_one_graph_passes():
    result = ask(check_of_module(Whole, 2, 3), "expect_compile")
    assert result.verdict is Verdict.PASS
    assert result.measured == "graph breaks 0, recompiles 0"


def test_a_branch_on_a_value_breaks_the_graph_and_its_line_is_named():
    check = check_of_module(Breaking, 2, 3)
    result = ask(check, "expect_compile", recompiles=">=0")
    line = Breaking.forward.__code__.co_firstlineno + 1
    assert "expect_compile: graph_breaks expected 0, found 1 in net (torch.compile)" in said(result)
    assert f"where: torch_checks/test_expect_compile.py:{line}: " in said(result)
    assert ask(check, "expect_compile", graph_breaks="<=1", recompiles=">=0").verdict is Verdict.PASS


def test_inputs_of_another_shape_compile_anew():
    check = ModelCheck(ModelCase("net", Whole, lambda seed: (torch.randn(2, 3 + seed),)))
    result = ask(check, "expect_compile")
    assert "expect_compile: recompiles expected 0, found 1 in net (torch.compile)" in said(result)
    assert "where: inputs 1 compiled a graph anew" in said(result)
    assert ask(check, "expect_compile", recompiles="<=1").verdict is Verdict.PASS


def test_a_bare_onnx_file_is_an_error(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_compile")
    assert result.verdict is Verdict.ERROR
    assert "graph: is an .onnx file and has no torch module" in said(result)


def test_a_percentage_is_refused_before_anything_runs(project):
    project.gated("expect_compile(graph_breaks='0%')").run().usage_error(
        "test_it.py::test_net: expect_compile: graph_breaks='0%': write a plain number"
    )
