"""expect_ops: counts at both stages, both sides of each bound, and findings that say where the operator stands."""

import onnx
import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.gates import MarkerError
from pytest_modelcheck.gates.ops import GATE, USUAL
from tests.gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    return check_of_graph(TEN_NODES, tmp_path_factory.mktemp("ops"))


@pytest.mark.parametrize(
    ("bound", "holds"),
    [(2, True), (1, False), (3, False), ("<=2", True), ("<2", False), (">=2", True), (">2", False), ("0..2", True)],
)
def test_the_count_of_an_operator(check, bound, holds):
    result = ask(check, "expect_ops", Neg=bound)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)
    assert result.measured == "Neg 2"


def test_the_stages_are_counted_apart(check):
    assert ask(check, "expect_ops", stage="exported", Identity=2).verdict is Verdict.PASS
    assert ask(check, "expect_ops", Identity=2).verdict is Verdict.FAIL
    assert ask(check, "expect_ops", "exported", Identity=0).verdict is Verdict.FAIL


def test_an_operator_that_is_not_there_counts_zero(check):
    assert ask(check, "expect_ops", Softmax=0).verdict is Verdict.PASS
    assert said(ask(check, "expect_ops", Softmax=1)) == (
        "expect_ops: Softmax expected 1, found 0 in graph (optimized, onnx, target portable)\n"
        "  next:  If the change is meant, write Softmax=0 in the marker."
    )


def test_a_close_operator_of_the_graph_is_named(check):
    (finding,) = ask(check, "expect_ops", PRelu=1).findings
    assert finding.next.startswith("The graph has Relu 1; if that is the operator you mean, name it. ")


def test_all_operators_are_judged(check):
    result = ask(check, "expect_ops", Neg=3, Exp=1, Abs=0)
    assert [finding.subject for finding in result.findings] == ["Neg", "Abs"]
    assert result.measured == "Neg 2, Exp 1, Abs 1"


def test_the_modules_that_hold_the_operator_are_named():
    import torch

    def build():
        layers = [torch.nn.Linear(3, 3) for _ in range(7)]
        return torch.nn.Sequential(*layers[:2], torch.nn.ReLU(), *layers[2:])

    check = check_of_module(build, 2, 3)
    (finding,) = ask(check, "expect_ops", Gemm=8).findings
    assert finding.found == "7"
    assert finding.where == ("[0-1,3-7]: 1 x Gemm each (x7)",)


def test_an_operator_of_another_domain_is_written_with_it(tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
    g (float[2] x) => (float[2] y) {
        a = mine.Twice(x)
        y = Relu(a)
    }"""
    check = check_of_graph(text, tmp_path)
    assert ask(check, "expect_ops", **{"mine:Twice": 1}).verdict is Verdict.PASS
    assert ask(check, "expect_ops", **{"mine:Twice": 0}).verdict is Verdict.FAIL


def test_nodes_of_subgraphs_and_functions_count(tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 18, "mine" : 1]>
    g (float[2] x, bool c) => (float[2] y) {
        a = mine.Twice(x)
        y = If (c) <
            then_branch = yes () => (float[2] p) { p = Neg(a) },
            else_branch = no () => (float[2] q) { n = Neg(a) q = Neg(n) }
        >
    }
    <domain: "mine", opset_import: ["" : 18]>
    Twice (v) => (w) { w = Add(v, v) }"""
    check = check_of_graph(text, tmp_path)
    assert ask(check, "expect_ops", stage="exported", Neg=3, Add=1, If=1, **{"mine:Twice": 1}).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (
            "com.micrsoft:FusedConv",
            "'com.micrsoft:FusedConv': there is no domain 'com.micrsoft'; did you mean 'com.microsoft'?",
        ),
        ("com.microsoft:FusedCnv", "com.microsoft has no operator 'FusedCnv'; did you mean 'FusedConv'?"),
        (
            "Atention",
            "ONNX has no operator 'Atention'; did you mean 'Attention'? (one of another domain is written domain:name)",
        ),
    ],
)
def test_a_name_that_cannot_exist_is_a_marker_error(op, message):
    with pytest.raises(MarkerError) as caught:
        GATE.expectation((), {op: "<=4"})
    assert str(caught.value) == f"expect_ops: {message}"


@pytest.mark.parametrize("op", ["com.microsoft:FusedConv", "Attention", "mine:Anything"])
def test_a_name_that_can_exist_is_none(op):
    GATE.expectation((), {op: "<=4"})


class Repeating(torch.nn.Module):
    """Adds the first row to every row: written out by `repeat`, viewed by `expand`."""

    def __init__(self, viewed):
        super().__init__()
        self.viewed = viewed

    def forward(self, x):
        row = x[:1]
        return (row.expand(3, -1) if self.viewed else row.repeat(3, 1)) + x


@pytest.mark.parametrize(("viewed", "verdict"), [(False, Verdict.FAIL), (True, Verdict.PASS)])
def test_a_repeat_that_should_have_been_a_view_is_a_tile_of_the_exported_graph(viewed, verdict):
    check = check_of_module(lambda: Repeating(viewed), 3, 4)
    result = ask(check, "expect_ops", stage="exported", Tile=0)
    assert result.verdict is verdict
    hint = "A Tile writes every repeat; where they are only read, expand() or broadcasting writes none."
    assert (hint in said(result)) == (verdict is Verdict.FAIL)
    assert check.attribution
    repeats = check.summary()["repeats"]
    assert list(repeats) == ["Expand", "Tile"]
    assert repeats["Tile"] == int(not viewed)


def test_operators_that_are_known_without_onnx_are_onnxs():
    assert {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain} >= USUAL
