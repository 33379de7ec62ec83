"""expect_fusion: grouped projections and the size of fused subgraphs, both sides of their bounds."""

import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.fusion import FusionReport, Subgraph
from tests.gate_checks import ask, check_of_module, said

ATTENTION = """
    import torch

    class Attention(torch.nn.Module):
        def __init__(self, other_input):
            super().__init__()
            self.query, self.key, self.value = (torch.nn.Linear(8, 8) for _ in range(3))
            self.other_input = other_input

        def forward(self, x):
            y, z = (x.relu(), x.tanh()) if self.other_input else (x, x)
            q, k, v = self.query(x), self.key(y), self.value(z)
            return torch.softmax(q @ k.transpose(-2, -1), -1) @ v

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(Attention(other_input=index != 1) for index in range(4))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    def build():
        return Net()

    def inputs(seed):
        return (torch.randn(1, 5, 8),)
"""
"""Four attention layers; all but layer 1 project three different inputs, which cannot be grouped."""


def report(grouped, layers, sizes=(1,), boundaries=("output",)):
    """A report with these figures: what the gate makes of them is the question, not where they come from."""
    subgraphs = tuple(
        Subgraph(ops=("op",) * size, owner="", pattern="single", boundary=boundary)
        for size, boundary in zip(sizes, boundaries, strict=True)
    )
    unfused = tuple((f"layer.{index}", "no projection behind Q") for index in range(layers - grouped))
    return FusionReport(
        name="net",
        nodes=sum(sizes),
        bookkeeping=0,
        subgraphs=subgraphs,
        attention_layers=layers,
        qkv=grouped,
        unfused=unfused,
    )


def check(made):
    net = check_of_module(lambda: torch.nn.Linear(3, 2), 2, 3)
    net.once("fusion", lambda: made)
    return net


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        ("12/12", False),
        ("11/12", True),
        ("11/11", False),
        (11, True),
        (">=11", True),
        (">11", False),
        (">=91.6%", True),
        (">=91.7%", False),
        ("100%", False),
    ],
)
def test_qkv_counts_attention_layers_and_checks_the_denominator(bound, holds):
    result = ask(check(report(11, 12)), "expect_fusion", qkv=bound)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)
    assert result.measured == "qkv 11/12"


@pytest.mark.parametrize(("bound", "holds"), [("<=3", True), ("<3", False), (3, True), ("2..3", True), (">3", False)])
def test_subgraphs_are_counted(bound, holds):
    result = ask(check(report(0, 0, (2, 2, 1), ("fork", "join", "output"))), "expect_fusion", subgraphs=bound)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)


@pytest.mark.parametrize(("bound", "holds"), [(">=1.5", True), (">1.5", False), ("<=1.5", True), ("<1.5", False)])
def test_the_mean_size_is_nodes_over_subgraphs(bound, holds):
    result = ask(check(report(0, 0, (2, 1), ("fork", "output"))), "expect_fusion", mean_size=bound)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)
    assert result.measured == "mean size 1.5"


def test_no_attention_at_all_is_no_full_share():
    result = ask(check(report(0, 0)), "expect_fusion", qkv=">=1%")
    assert result.verdict is Verdict.FAIL
    assert "where: no softmax(Q K^T) V is in the torch graph" in said(result)
    assert ask(check(report(0, 0)), "expect_fusion", qkv="0/0").verdict is Verdict.PASS


def test_more_attention_layers_than_expected_are_named_as_such():
    result = ask(check(report(12, 12)), "expect_fusion", qkv="11/11")
    assert "found 12/12 in net" in said(result)
    assert "where: all 12 attention layers have their projections grouped" in said(result)


def test_an_empty_graph_is_an_error_and_no_pass():
    result = ask(check(report(0, 0, (), ())), "expect_fusion", subgraphs="<=5", mean_size=">=1")
    assert result.verdict is Verdict.ERROR
    assert "where: the torch graph computes nothing" in said(result)


def test_too_many_subgraphs_say_what_they_end_in():
    made = report(0, 0, (1,) * 5, ("fork", "fork", "no rule for relu -> linear", "fork", "output"))
    assert said(ask(check(made), "expect_fusion", subgraphs="<=4")) == (
        "expect_fusion: subgraphs expected <=4, found 5 (5 compute nodes in 5 subgraphs) in net "
        "(torch graph, attention written out)\n"
        "  where: ends in fork: 3\n"
        "         ends in no rule for relu -> linear: 1\n"
        "         ends in output: 1\n"
        "  next:  The fusion snapshot shows whose subgraphs changed; if the change is meant, change the marker."
    )


def test_a_marker_fails_with_the_reason_of_each_layer_that_is_not_grouped(project):
    project.model(ATTENTION).gated('expect_fusion(qkv="4/4")').run().outcomes(failed=1).has(
        """
        expect_fusion: qkv expected 4/4, found 1/4 in net (torch graph, attention written out)
          where: layers.[0,2-3] (x3): Q, K and V read three different inputs
          next:  Projections of one input that meet in one attention count as grouped, and so does a packed one.
        """
    )


def test_a_marker_that_holds_passes(project):
    project.model(ATTENTION).gated('expect_fusion(qkv="1/4", mean_size=">=1.1")').run().outcomes(passed=1)


def test_a_module_that_cannot_be_captured_is_an_error_with_the_users_line(project):
    branching = project.model(
        """
        import torch

        class Net(torch.nn.Module):
            def forward(self, x):
                if x.sum() > 0:
                    return x + 1
                return x - 1

        def build():
            return Net()

        def inputs(seed):
            return (torch.ones(2, 3),)
        """
    )
    branching.gated("expect_fusion(qkv='0/0')").run().outcomes(failed=1).has(
        "[error] modelcheck: capture expected a torch graph, found data_dependent_control_flow:",
        "if x.sum() > 0:",
    )


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("expect_fusion", 'expects nothing; write e.g. qkv="12/12"'),
        ("expect_fusion(qkv='many')", "qkv: bound 'many' cannot be read"),
        ("expect_fusion(subgraphs='5%')", "subgraphs='5%': write a number or a comparison, e.g. subgraphs='<=204'"),
        ("expect_fusion(mean_size='1/2')", "mean_size='1/2': write a number or a comparison, e.g. mean_size='>=1.5'"),
        ("expect_fusion(mean='>=1')", "did you mean 'mean_size'?"),
    ],
)
def test_a_bad_argument_is_a_usage_error(project, marker, message):
    project.gated(marker).run().has(message).lacks("INTERNALERROR", "passed")
