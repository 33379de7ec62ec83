"""expect_reduction: both sides of its bounds, its findings, and passes that fail or are not there."""

import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.pipeline import optimize, resolve_passes
from tests.gate_checks import TEN_NODES, ask, check_of_graph, said


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    return check_of_graph(TEN_NODES, tmp_path_factory.mktemp("reduction"))


@pytest.mark.parametrize(
    ("bound", "holds"),
    [
        (">=20%", True),
        (">=20.1%", False),
        (">20%", False),
        ("20%", True),
        ("<=19.9%", False),
        (2, True),
        (1, False),
        (3, False),
        (">=2", True),
        (">2", False),
        ("2..5", True),
        ("3..5", False),
    ],
)
def test_the_total_in_nodes_and_in_percent(check, bound, holds):
    assert ask(check, "expect_reduction", total=bound).verdict is (Verdict.PASS if holds else Verdict.FAIL)


@pytest.mark.parametrize("basis", ["isolated", "in_order"])
@pytest.mark.parametrize(("bound", "holds"), [(2, True), (">0", True), ("20%", True), (3, False), ("<=1", False)])
def test_one_pass_on_either_basis(check, basis, bound, holds):
    result = ask(check, "expect_reduction", basis=basis, eliminate_identity_ops=bound)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL)


def test_a_pass_whose_work_another_did_before_counts_alone_but_not_in_order(tmp_path):
    ours = resolve_passes(["eliminate_identity_ops"])

    def again(model):
        return optimize(model, passes=ours)

    check = check_of_graph(TEN_NODES, tmp_path, passes=(*ours, again))
    assert ask(check, "expect_reduction", basis="isolated", again=2).verdict is Verdict.PASS
    assert ask(check, "expect_reduction", basis="in_order", again=0).verdict is Verdict.PASS
    assert ask(check, "expect_reduction", basis="in_order", again=2).verdict is Verdict.FAIL


def test_the_finding_of_the_total(check):
    assert said(ask(check, "expect_reduction", total=">20%")) == (
        "expect_reduction: total expected >20%, found 2 nodes removed (20.0% of 10) in graph "
        "(optimized, onnx, target portable)\n"
        "  where: eliminate_identity_ops: -2\n"
        "         (no module): -2 Identity\n"
        "  next:  Compare the attribution snapshot to see which pass changed; if the change is meant, lower the marker."
    )


def test_the_finding_of_a_pass_that_fired_and_of_one_that_did_not(check):
    result = ask(check, "expect_reduction", eliminate_identity_ops=3, fuse_gelu=">0")
    first, second = result.findings
    assert first.render() == (
        "expect_reduction: eliminate_identity_ops expected 3, found 2 nodes removed (20.0% of 10) in graph "
        "(in_order, optimized, onnx, target portable)\n"
        "  where: eliminate_identity_ops: fired: Identity -2\n"
        "         (no module): -2 Identity\n"
        "  next:  If the change is meant, change the marker; the attribution snapshot shows what the other passes did."
    )
    assert second.where == ("fuse_gelu: no_op, nothing in this graph to rewrite",)


def test_refusals_are_named_with_their_count(tmp_path):
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] z)
    <float[2,2,1,1] w = {1, 2, 3, 4}, float[2] s = {1, 2}, float[2] b = {0, 1}, float[2] m = {0, 1},
     float[2] v = {1, 2}>
    {
        z = Conv(x, w)
        y = BatchNormalization(z, s, b, m, v)
    }"""
    result = ask(check_of_graph(text, tmp_path), "expect_reduction", fuse_conv_batchnorm=1)
    (finding,) = result.findings
    assert finding.where[0] == "fuse_conv_batchnorm: refused"
    assert finding.where[1].startswith("refused 1 x: ")


def test_a_pass_that_is_not_in_the_pipeline_is_named_with_the_pipeline(tmp_path):
    check = check_of_graph(TEN_NODES, tmp_path, passes=resolve_passes(["fold_constants"]))
    result = ask(check, "expect_reduction", eliminate_identity_ops=2)
    assert result.verdict is Verdict.FAIL
    assert said(result) == (
        "expect_reduction: eliminate_identity_ops expected 2, found no such pass in the pipeline in graph "
        "(optimized, onnx, target portable)\n"
        "  where: pipeline: fold_constants\n"
        "  next:  Put the pass back into the pipeline (ini modelcheck_passes), or take it out of the marker."
    )


def test_a_pass_that_adds_nodes_has_removed_a_negative_number(tmp_path):
    import onnx
    from onnx import helper

    def add_one(model):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        copy.graph.node.insert(0, helper.make_node("Abs", ["x"], ["unused"]))
        return copy

    check = check_of_graph(TEN_NODES, tmp_path, passes=[add_one])
    assert ask(check, "expect_reduction", total=-1).verdict is Verdict.PASS
    assert "-1 nodes removed (-10.0% of 10)" in said(ask(check, "expect_reduction", total=">=0"))


def test_a_pass_that_raises_is_one_error_even_where_the_bound_would_hold(tmp_path):
    def broken(model):
        raise ValueError("no such operator set")

    check = check_of_graph(TEN_NODES, tmp_path, passes=[broken])
    for expected in ({"total": 0}, {"broken": 0}):
        result = ask(check, "expect_reduction", **expected)
        assert result.verdict is Verdict.ERROR
        assert said(result) == (
            "[error] expect_reduction: broken expected a valid graph, found ValueError: no such operator set in graph "
            "(onnx, target portable)\n"
            "  next:  The pipeline went on from the model before this pass. Repair the pass, or take it out."
        )
