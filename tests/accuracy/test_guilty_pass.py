"""`find_guilty_pass`: planted wrong rewrites are found, down to the node."""

from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.accuracy import Tolerances, UnusableReferenceError, find_guilty_pass
from pytest_modelcheck.graph.metadata import OWNER_KEY
from pytest_modelcheck.passes import Pass

CHAIN = """<ir_version: 8, opset_import: ["" : 18]>
g (float[4] x) => (float[4] y) <float one = {1}, float two = {2}, float three = {3}> {
 a = Add(x, one)
 i = Identity(a)
 b = Mul(i, two)
 c = Add(b, two)
 j = Identity(c)
 d = Mul(j, three)
 y = Relu(d)
}"""


def chain():
    model = ir.from_onnx_text(CHAIN)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
        node.metadata_props[OWNER_KEY] = f"layer.{node.outputs[0].name}"
    return model


def inputs(seed):
    return {"x": np.random.default_rng(seed).uniform(1, 2, 4).astype(np.float32)}


@dataclass(frozen=True)
class SkipIdentities(Pass):
    """Right: Identity(x) -> x."""

    name = "skip_identities"

    def rewrite(self, rewriter):
        for node in rewriter.nodes("Identity"):
            rewriter.replace_value(node.outputs[0], node.inputs[0])


@dataclass(frozen=True)
class AddsToSubs(Pass):
    """Add(x, c) -> Sub(x, c) for one value of c (wrong), and to Sub(c, -x) for the others (right)."""

    name = "adds_to_subs"
    wrong: float = 2.0

    def rewrite(self, rewriter):
        for node in rewriter.nodes("Add"):
            constant = rewriter.constant(node.inputs[1])
            inner = list(node.inputs)
            made = []
            if constant is not None and float(constant) != self.wrong:
                negated = rewriter.node("Neg", [inner[0]])
                made.append(negated)
                inner = [inner[1], negated.outputs[0]]
            made.append(rewriter.node("Sub", inner))
            rewriter.replace([node], made, {node.outputs[0]: made[-1].outputs[0]})


def shift_up(model: onnx.ModelProto) -> onnx.ModelProto:
    """A foreign optimizer that scales a constant by a thousandth."""
    for tensor in model.graph.initializer:
        if tensor.name == "three":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(3.003), "three"))
    return model


def test_a_pipeline_that_keeps_the_numbers_has_no_guilty_pass():
    assert find_guilty_pass(chain(), inputs) is None
    assert find_guilty_pass(chain(), inputs, passes=[SkipIdentities(), AddsToSubs(wrong=99)]) is None


def test_the_first_bad_rewrite_of_the_guilty_pass_is_named_with_its_node_and_module():
    guilty = find_guilty_pass(chain(), inputs, passes=[SkipIdentities(), AddsToSubs(), SkipIdentities()])
    assert (guilty.name, guilty.index) == ("adds_to_subs", 1)
    assert (guilty.rewrite, guilty.rewrites) == (2, 2)
    assert guilty.removed == ("Add 'node_c' in layer.c",)
    assert len(guilty.added) == 1
    assert guilty.added[0].startswith("Sub ")
    assert not guilty.comparison.passed
    text = "\n".join(guilty.describe())
    assert "pass adds_to_subs (number 2 of the pipeline, rewrite 2 of 2)" in text
    assert "took out Add 'node_c' in layer.c" in text


@dataclass(frozen=True)
class ByRules(Pass):
    """Identity(x) -> x, right, and Relu(x) -> x, wrong."""

    name = "by_rules"
    rules = ("identity", "relu")

    def rewrite(self, rewriter):
        for node in rewriter.nodes("Identity", "Relu"):
            rewriter.begin_rule(node.op_type.lower())
            rewriter.replace([node], [], {node.outputs[0]: node.inputs[0]})


def test_the_rule_that_made_the_bad_rewrite_is_named():
    def negative(seed):
        return {"x": np.random.default_rng(seed).uniform(-9, -8, 4).astype(np.float32)}

    guilty = find_guilty_pass(chain(), negative, passes=[ByRules()])
    assert (guilty.rewrite, guilty.rewrites, guilty.rule) == (3, 3, "relu")
    assert guilty.describe()[0] == "pass by_rules (number 1 of the pipeline, rewrite 3 of 3, by rule relu)"


def test_a_pass_with_one_rule_is_named_without_it():
    assert find_guilty_pass(chain(), inputs, passes=[AddsToSubs()]).rule is None


@pytest.mark.parametrize(("wrong", "rewrite"), [(1.0, 1), (2.0, 2)])
def test_the_rewrite_is_counted_from_one(wrong, rewrite):
    assert find_guilty_pass(chain(), inputs, passes=[AddsToSubs(wrong=wrong)]).rewrite == rewrite


@pytest.mark.parametrize("place", range(4))
def test_the_guilty_pass_is_found_wherever_it_stands(place):
    passes = [SkipIdentities() for _ in range(4)]
    passes[place] = AddsToSubs()
    assert find_guilty_pass(chain(), inputs, passes=passes).index == place


def test_the_first_of_two_guilty_passes_is_named():
    guilty = find_guilty_pass(chain(), inputs, passes=[shift_up, AddsToSubs()])
    assert guilty.name == "shift_up"


def test_a_foreign_optimizer_is_named_as_a_whole():
    guilty = find_guilty_pass(chain(), inputs, passes=[SkipIdentities(), shift_up])
    assert (guilty.name, guilty.index, guilty.rewrite, guilty.rewrites) == ("shift_up", 1, None, None)


def test_the_tolerance_decides_what_is_guilty():
    assert find_guilty_pass(chain(), inputs, passes=[shift_up], tolerances=Tolerances(1e-2, 1e-2)) is None
    assert find_guilty_pass(chain(), inputs, passes=[shift_up], tolerances=Tolerances(1e-4, 1e-4)).name == "shift_up"


def test_a_difference_at_one_seed_only_is_found_among_several():
    def rarely_large(seed):
        return {"x": np.full(4, 1e-6 if seed else 1.0, np.float32)}

    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float three = {3}> { y = Mul(x, three) }"""
    model = ir.from_onnx_text(text)
    assert find_guilty_pass(model, rarely_large, passes=[shift_up], seeds=[1, 2]) is None
    assert find_guilty_pass(model, rarely_large, passes=[shift_up], seeds=[2, 1, 0]).name == "shift_up"


def test_a_pass_whose_result_cannot_be_run_is_guilty_with_the_reason():
    def unrunnable(model: onnx.ModelProto) -> onnx.ModelProto:
        model.opset_import.append(onnx.helper.make_opsetid("nowhere", 1))
        model.graph.node[0].domain = "nowhere"
        return model

    guilty = find_guilty_pass(chain(), inputs, passes=[SkipIdentities(), unrunnable])
    assert guilty.name == "unrunnable"
    assert guilty.comparison is None
    assert "nowhere" in guilty.error


def test_a_model_that_gives_nan_by_itself_blames_no_pass():
    with pytest.raises(UnusableReferenceError, match="gives NaN by itself"):
        find_guilty_pass(chain(), lambda seed: {"x": np.full(4, np.nan, np.float32)}, passes=[AddsToSubs()])
