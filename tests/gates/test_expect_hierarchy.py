"""expect_hierarchy: coverage of nodes and of modules, both sides of their bounds."""

import pytest
import torch

from pytest_modelcheck import Verdict
from pytest_modelcheck.hierarchy import HierarchyReport
from tests.gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def report(kinds, ran, covered):
    """A report with these figures: what the gate makes of them is the question, not where they come from."""
    return HierarchyReport(
        kinds=dict(zip(("direct", "inherited", "root", "none"), kinds, strict=True)),
        plumbing=0,
        constants=0,
        modules_ran=ran,
        modules_covered=covered,
        modules_uncovered=tuple(path for path in ran if path not in covered),
    )


@pytest.fixture(scope="module")
def check():
    return check_of_module(Net, 2, 3)


def test_full_coverage_holds_up_to_its_bound(check):
    assert ask(check, "expect_hierarchy", coverage=">=100%").verdict is Verdict.PASS
    assert ask(check, "expect_hierarchy", coverage="<100%").verdict is Verdict.FAIL
    assert ask(check, "expect_hierarchy", modules="100%").verdict is Verdict.PASS
    assert ask(check, "expect_hierarchy", modules="<100%").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("bound", "holds"), [(">=95%", True), (">95%", False), (">=95.1%", False), ("<95.1%", True), ("90..95%", True)]
)
def test_coverage_counts_direct_and_inherited_and_never_the_root_fallback(bound, holds):
    check = check_of_module(Net, 2, 3)
    check.once("hierarchy", lambda: report((90, 5, 3, 2), ("",), ("",)))
    result = ask(check, "expect_hierarchy", coverage=bound)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)
    if not holds:
        assert "found 95.0% of 100 compute nodes (direct 90, inherited 5, root 3, none 2) in net" in said(result)


def test_a_module_without_a_node_is_named():
    check = check_of_module(Net, 2, 3)
    ran = ("", *(f"layer.{n}" for n in range(9)))
    check.once("optimized hierarchy", lambda: report((5, 0, 0, 0), ran, ran[:3]))
    result = ask(check, "expect_hierarchy", modules="100%", stage="optimized")
    assert said(result) == (
        "expect_hierarchy: modules expected 100%, found 30.0% of 10 modules in net "
        "(optimized, torchscript, target portable)\n"
        "  where: layer.2: ran, and owns no node\n"
        "         layer.3: ran, and owns no node\n"
        "         layer.4: ran, and owns no node\n"
        "         layer.5: ran, and owns no node\n"
        "         layer.6: ran, and owns no node\n"
        "         ... and 2 more\n"
        "  next:  A module that computes something the outputs need should own a node; check its name in the export."
    )
    assert ask(check, "expect_hierarchy", modules=">=30%", stage="optimized").verdict is Verdict.PASS
    assert ask(check, "expect_hierarchy", modules=">30%", stage="optimized").verdict is Verdict.FAIL


def test_a_graph_without_owners_fails_with_the_reason(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_hierarchy", coverage=">=95%")
    assert result.verdict is Verdict.FAIL
    assert "found 0.0% of 10 compute nodes (direct 0, inherited 0, root 0, none 10)" in said(result)
    assert "no node names a module" in said(result)


def test_modules_of_a_case_without_modules_are_an_error(tmp_path):
    result = ask(check_of_graph(TEN_NODES, tmp_path), "expect_hierarchy", modules=">=1%")
    assert result.verdict is Verdict.ERROR
    assert "found no torch module that ran" in said(result)


def test_what_was_measured_stands_in_the_result(check):
    measured = ask(check, "expect_hierarchy", coverage=">=50%", modules=">=1%").measured
    assert measured.startswith("coverage 100.0% of 3 nodes, modules ")


def test_each_strategy_can_be_asked_for_alone():
    check = check_of_module(Net, 2, 3)
    for strategy in ("precise", "broad"):
        assert ask(check, "expect_hierarchy", coverage=">=100%", strategy=strategy).verdict is Verdict.PASS
    result = ask(check, "expect_hierarchy", coverage="<50%", strategy="precise")
    assert "precise strategy: asked for" in said(result)


def test_an_unknown_strategy_is_a_marker_error():
    from pytest_modelcheck.gates import MarkerError
    from pytest_modelcheck.gates.hierarchy import GATE

    with pytest.raises(MarkerError, match="strategy 'htp' is unknown; choose auto, precise or broad"):
        GATE.expectation((), {"coverage": ">=1%", "strategy": "htp"})
