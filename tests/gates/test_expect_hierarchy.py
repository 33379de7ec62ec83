"""expect_hierarchy: coverage of nodes and of modules, both sides of their bounds."""

import onnx
import pytest
import torch
from gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said
from onnx import helper, numpy_helper

from pytest_modelcheck import Verdict


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def forget_first(model):
    """An optimizer that writes the first Gemm anew: nothing of its names, weights or metadata stays."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    gemm = copy.graph.node[0]
    double = helper.make_node("Add", [gemm.input[0], gemm.input[0]], ["made_1"])
    half = helper.make_node("Sub", ["made_1", gemm.input[0]], ["made_2"])
    new = helper.make_node("Gemm", ["made_2", "made_weight", "made_bias"], ["made_3"], transB=1)
    copy.graph.node[1].input[0] = "made_3"
    for tensor in copy.graph.initializer:
        if tensor.name in gemm.input:
            tensor.name = {gemm.input[1]: "made_weight", gemm.input[2]: "made_bias"}[tensor.name]
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.5, tensor.name))
    del copy.graph.value_info[:]
    nodes = [double, half, new, *copy.graph.node[1:]]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


@pytest.fixture(scope="module")
def check():
    return check_of_module(Net, 2, 3, passes=[forget_first])


def test_full_coverage_holds_up_to_its_bound(check):
    assert ask(check, "expect_hierarchy", coverage=">=100%").verdict is Verdict.PASS
    assert ask(check, "expect_hierarchy", coverage="<100%").verdict is Verdict.FAIL


def test_what_an_optimizer_forgot_shows_at_the_optimized_stage(check):
    coverage = 100 * check.optimized_hierarchy.coverage
    assert 0 < coverage < 100
    bounds = {f">={coverage - 0.1}%": Verdict.PASS, f">={coverage + 0.1}%": Verdict.FAIL}
    for bound, verdict in bounds.items():
        assert ask(check, "expect_hierarchy", coverage=bound, stage="optimized").verdict is verdict
    assert "(optimized, torchscript, target portable)" in said(
        ask(check, "expect_hierarchy", coverage="100%", stage="optimized")
    )


def test_a_module_without_a_node_is_named(check):
    assert ask(check, "expect_hierarchy", modules="100%").verdict is Verdict.PASS
    result = ask(check, "expect_hierarchy", modules="100%", stage="optimized")
    assert result.verdict is Verdict.FAIL
    assert said(result) == (
        "expect_hierarchy: modules expected 100%, found 66.7% of 3 modules in net "
        "(optimized, torchscript, target portable)\n"
        "  where: first: ran, and owns no node\n"
        "  next:  A module that computes something the outputs need should own a node; check its name in the export."
    )
    assert ask(check, "expect_hierarchy", modules=">=66.6%", stage="optimized").verdict is Verdict.PASS
    assert ask(check, "expect_hierarchy", modules=">=66.7%", stage="optimized").verdict is Verdict.FAIL


def test_a_graph_without_owners_fails_with_the_reason(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_hierarchy", coverage=">=95%")
    assert result.verdict is Verdict.FAIL
    assert "found 0.0% of 10 compute nodes (direct 0, inherited 0, root 0, none 10)" in said(result)
    assert "no node names a module" in said(result)


def test_modules_of_a_case_without_modules_are_an_error(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_hierarchy", modules=">=0%")
    assert result.verdict is Verdict.ERROR
    assert "found no torch module that ran" in said(result)


def test_what_was_measured_stands_in_the_result(check):
    measured = ask(check, "expect_hierarchy", coverage=">=50%", modules=">=1%").measured
    assert measured.startswith("coverage 100.0% of 3 nodes, modules ")
