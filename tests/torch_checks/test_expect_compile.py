"""expect_compile: where torch.compile breaks the graph, and what compiles it again."""

import inspect
import sys
import threading

import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.torch_checks import compile_report
from tests.gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said


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
    result = ask(check, "expect_compile", recompiles=None)
    line = Breaking.forward.__code__.co_firstlineno + 1
    assert "expect_compile: graph_breaks expected 0, found 1 in net (torch.compile)" in said(result)
    assert f"where: torch_checks/test_expect_compile.py:{line}: " in said(result)
    assert ask(check, "expect_compile", graph_breaks="<=1", recompiles=None).verdict is Verdict.PASS


LOCK = threading.Lock()


class BeforeTheFirstOperator(torch.nn.Module):
    def forward(self, x):
        print("hello")  # break
        return torch.relu(x)


class InTry(torch.nn.Module):
    def forward(self, x):
        try:
            if x.sum() > 0:  # break
                x = x + 1
        except ValueError:
            pass
        return x * 2


class InWith(torch.nn.Module):
    def forward(self, x):
        with LOCK:  # break
            x = x + 1
        return x * 2


class InTryOfASubmodule(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = InTry()

    def forward(self, x):
        return self.inner(x + 1)


@torch.compiler.disable
def by_hand(x):
    return x + 1


class Disabled(torch.nn.Module):
    def forward(self, x):
        return by_hand(x)  # break


class LogBefore(torch.nn.Module):
    def forward(self, x):
        sys.stdout.write("")  # break
        return x * 2


@pytest.mark.parametrize(
    "build", [BeforeTheFirstOperator, InTry, InWith, InTryOfASubmodule, Disabled, LogBefore], ids=lambda c: c.__name__
)
def test_a_break_that_dynamo_does_not_list_is_found_with_its_line(build):
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(build(), backend="eager", fullgraph=True)(torch.ones(2, 3))
    result = ask(check_of_module(build, 2, 3), "expect_compile", recompiles=None)
    assert "expect_compile: graph_breaks expected 0, found 1 in net (torch.compile)" in said(result)
    source = (InTry if build is InTryOfASubmodule else build).forward
    lines, start = inspect.getsourcelines(source)
    line = start + next(index for index, text in enumerate(lines) if "# break" in text)
    assert f"test_expect_compile.py:{line}: " in said(result)


class Several(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.listed, self.unlisted = Breaking(), InTry()

    def forward(self, x):
        print("hello")
        return self.unlisted(self.listed(x))


def test_breaks_that_are_listed_and_breaks_that_are_not_are_counted_together():
    result = ask(check_of_module(Several, 2, 3), "expect_compile", recompiles=None)
    assert "graph_breaks expected 0, found 3" in said(result)


class Prints(torch.nn.Module):
    def forward(self, x):
        print("one")
        print("two")
        x = torch.relu(x)
        print("three")
        try:
            print("four")
        finally:
            print("run by Python")
        return x


def test_each_line_that_breaks_the_graph_counts_before_the_first_operator_too():
    result = ask(check_of_module(Prints, 2, 3), "expect_compile", graph_breaks="<=3", recompiles=None)
    assert "graph_breaks expected <=3, found 4" in said(result)
    start = Prints.forward.__code__.co_firstlineno
    for line in (1, 2, 4, 6):
        assert f"test_expect_compile.py:{start + line}: Failed to trace builtin operator" in said(result)
    assert said(result).count("; the rest of the function runs in Python") == 1


def test_a_break_that_was_counted_and_has_no_place_in_the_trace_counts(monkeypatch):
    monkeypatch.setattr(compile_report._Traced, "emit", lambda self, record: None)
    result = ask(check_of_module(BeforeTheFirstOperator, 2, 3), "expect_compile", recompiles=None)
    assert "where: Failed to trace builtin operator" in said(result)


def test_inputs_of_another_shape_compile_anew():
    check = ModelCheck(ModelCase("net", Whole, lambda seed: (torch.randn(2, 3 + seed),)))
    result = ask(check, "expect_compile")
    assert "expect_compile: recompiles expected 0, found 1 in net (torch.compile)" in said(result)
    assert "where: inputs 1 compiled a graph again" in said(result)
    assert ask(check, "expect_compile", recompiles="<=1").verdict is Verdict.PASS


def test_a_bare_onnx_file_is_an_error(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_compile")
    assert result.verdict is Verdict.ERROR
    assert "graph: is an .onnx file and has no torch module" in said(result)


def test_a_percentage_is_refused_before_anything_runs(project):
    project.gated("expect_compile(graph_breaks='0%')").run().bad_marker(
        "test_it.py::test_net: expect_compile: graph_breaks='0%': write a plain number"
    )
