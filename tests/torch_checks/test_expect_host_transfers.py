"""expect_host_transfers: what the forward waits for, with its line and module."""

import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.runtimes import missing_provider
from tests.gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said


class Clipping(torch.nn.Module):
    """Waits for its input once on each call."""

    def forward(self, x):
        return x.clamp(max=x.max().item())


class Quiet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)

    def forward(self, x):
        return self.first(x)


class Waiting(Quiet):
    """Its submodule `clip` waits, twice when called twice."""

    def __init__(self):
        super().__init__()
        self.clip = Clipping()

    def forward(self, x):
        return self.clip(self.clip(self.first(x)))


def test_a_forward_that_never_waits_passes():
    result = ask(check_of_module(Quiet, 2, 3), "expect_host_transfers", 0)
    assert result.verdict is Verdict.PASS
    assert result.measured == "0 host transfers"


def test_a_forward_that_waits_fails_with_the_line_the_module_and_how_often():
    result = ask(check_of_module(Waiting, 2, 3), "expect_host_transfers", 0)
    line = Clipping.forward.__code__.co_firstlineno + 1
    assert said(result) == (
        "expect_host_transfers: transfers expected 0, found 2 in net (torch forward)\n"
        f"  where: clip: Tensor.item (read) at torch_checks/test_expect_host_transfers.py:{line}: "
        "return x.clamp(max=x.max().item())  x2\n"
        "  next:  Keep the value on the device (torch.where, masks, shapes instead of contents), or raise the number "
        "in the marker."
    )


def test_both_sides_of_the_bound():
    check = check_of_module(Waiting, 2, 3)
    assert ask(check, "expect_host_transfers", "<=2").verdict is Verdict.PASS
    assert ask(check, "expect_host_transfers", "<2").verdict is Verdict.FAIL


def test_without_a_number_none_is_expected():
    assert ask(check_of_module(Waiting, 2, 3), "expect_host_transfers").verdict is Verdict.FAIL


def test_a_bare_onnx_file_is_an_error(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_host_transfers", 0)
    assert result.verdict is Verdict.ERROR
    assert "graph: is an .onnx file and has no torch module" in said(result)


def test_a_percentage_is_refused_before_anything_runs(project):
    project.gated("expect_host_transfers('0%')").run().bad_marker(
        "test_it.py::test_net: expect_host_transfers: transfers='0%': a number of transfers is a plain number, "
        "e.g. 0 or '<=1'"
    )


def test_in_a_run_a_wait_fails_the_test(project):
    project.replace("net.py", "return self.last", "x = x * float(x.sum()); return self.last")
    project.gated("expect_host_transfers(0)").run().outcomes(failed=1).has(
        "expect_host_transfers: transfers expected 0, found 1 in net (torch forward)"
    )


# -- Memcpy nodes of the graph, with a provider ---------------------------------------------------------------------


def test_memcpy_nodes_are_counted_with_the_provider_that_is_named():
    result = ask(
        check_of_module(lambda: torch.nn.Linear(3, 3), 2, 3), "expect_host_transfers", memcpy=0, provider="CPU"
    )
    assert (result.verdict, result.measured) == (Verdict.PASS, "0 host transfers, 0 Memcpy nodes")


def test_too_many_memcpy_nodes_fail():
    check = check_of_module(lambda: torch.nn.Linear(3, 3), 2, 3)
    check.once(("memcpy", "CPU"), lambda: {"MemcpyFromHost": 2, "MemcpyToHost": 1})
    result = ask(check, "expect_host_transfers", memcpy="<=2", provider="CPU")
    assert said(result) == (
        "expect_host_transfers: memcpy expected <=2, found 3 Memcpy nodes (MemcpyFromHost 2, MemcpyToHost 1) in net "
        "(optimized, torchscript, target portable, on CPU)\n"
        "  next:  An operator without a kernel on the device runs on the host: onnxruntime's verbose log names it."
    )


@pytest.mark.skipif(not missing_provider("CUDA"), reason="this onnxruntime has CUDA")
def test_memcpy_nodes_without_the_provider_are_inconclusive_with_the_reason():
    result = ask(check_of_module(lambda: torch.nn.Linear(3, 3), 2, 3), "expect_host_transfers", memcpy=0)
    assert (result.verdict, result.measured) == (Verdict.INCONCLUSIVE, "0 host transfers")
    assert f"found nothing counted: {missing_provider('CUDA')} in net" in said(result)


def test_a_percentage_of_memcpy_nodes_is_refused(project):
    project.gated("expect_host_transfers(memcpy='<=5%')").run().bad_marker(
        "test_it.py::test_net: expect_host_transfers: memcpy='<=5%': a number of Memcpy nodes is a plain number, "
        "e.g. 0 or '<=1'"
    )
