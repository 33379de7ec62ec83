"""``optimize(verify=True)``: a rewrite that changes what the model computes is undone and named."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx.parser
import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.passes import PASSES, Pass
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline import WrongRewriteWarning, optimize
from pytest_modelcheck.rewriting.rewriter import Rewriter
from tests.passes.fusing_checks import make

CHAIN = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 18]>
    g (float["n", 4] x) => (float["n", 4] y) {
      [abs] a = Abs(x)
      [first] b = Relu(a)
      [difference] c = Sub(x, b)
      [second] d = Relu(c)
      [third] e = Relu(a)
      [sum] y = Add(d, e)
    }"""
)


@dataclass(frozen=True)
class DropRelu(Pass):
    """Removes every Relu, right only where nothing negative comes in."""

    name: ClassVar[str] = "drop_relu"
    rules: ClassVar[tuple[str, ...]] = ("relu", "other")

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Relu"):
            made = rewriter.node("Identity", [node.inputs[0]], like=node.outputs[0])
            rewriter.replace([node], [made], {node.outputs[0]: made.outputs[0]})


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def test_a_wrong_rewrite_is_undone_and_named_and_those_before_it_are_kept():
    expected = (
        r"^drop_relu, rule 'relu', rewrite 2 of 3, at node 'second': output 'y' differs by \S+, "
        r"where \S+ is rounding; undone$"
    )
    with pytest.warns(WrongRewriteWarning, match=expected):
        optimized = optimize(CHAIN, passes=[DropRelu()], verify=True)
    assert operators(optimized) == {"Abs": 1, "Identity": 1, "Sub": 1, "Relu": 2, "Add": 1}
    assert operators(optimize(CHAIN, passes=[DropRelu()])) == {"Abs": 1, "Identity": 3, "Sub": 1, "Add": 1}


def test_settle_does_not_make_the_wrong_rewrite_again():
    pipeline = (DropRelu(), *PASSES[:-1], Settle(passes=(DropRelu(), *PASSES[:-1])))
    with pytest.warns(WrongRewriteWarning) as caught:
        optimized = optimize(CHAIN, passes=pipeline, verify=True)
    assert len(caught) == 1
    assert operators(optimized)["Relu"] >= 1


def test_right_rewrites_are_not_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verified = optimize(CHAIN, verify=True)
    assert operators(verified) == operators(optimize(CHAIN))


def test_strings_that_are_folded_are_compared_as_text():
    texts = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 20]> g (string[N] s) => (string[N] y) <string[2] a = {"x", "é"}> {
          both = StringConcat (a, a) y = StringConcat (s, both)
        }"""
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", WrongRewriteWarning)
        assert operators(optimize(texts, verify=True)) == {"StringConcat": 1}


def test_a_wrong_pass_of_others_is_undone_as_a_whole():
    def subtract(model: onnx.ModelProto) -> onnx.ModelProto:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        changed.graph.node[-1].op_type, changed.graph.node[-1].name = "Sub", "changed"
        return changed

    with pytest.warns(WrongRewriteWarning, match=r"^subtract, at node 'sum': output 'y' differs by"):
        optimized = optimize(CHAIN, passes=[subtract], verify=True)
    assert operators(optimized) == operators(CHAIN)


def test_a_pass_that_raises_is_named_as_without_verify():
    def broken(model: onnx.ModelProto) -> onnx.ModelProto:
        raise RuntimeError("broken")

    with pytest.raises(PassFailedError, match="broken: RuntimeError: broken"):
        optimize(CHAIN, passes=[broken], verify=True)


def test_random_outputs_are_not_compared():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float["n", 4] x) => (float["n", 4] y, float["n", 4] z) {
          r = RandomNormalLike(x)
          i = Identity(r)
          y = Add(i, x)
          z = Relu(x)
        }"""
    )
    with pytest.warns(WrongRewriteWarning, match="output 'z' differs"):
        optimize(model, passes=[DropRelu()], verify=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert operators(optimize(model, verify=True)) == {"RandomNormalLike": 1, "Add": 1, "Relu": 1}


def test_a_model_that_cannot_be_run_cannot_be_verified():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18, "other" : 1]>
        g (float[4] x) => (float[4] y) { y = other.Unheard(x) }"""
    )
    with pytest.raises(OptionError, match=r"^verify: the model cannot be run: "):
        optimize(model, verify=True)


def test_the_command_verifies_too(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    onnx.save(CHAIN, path)
    assert main(["optimize", str(path), "--verify"]) == 0
    assert capsys.readouterr().out.endswith(": 6 -> 5 nodes\n")


HIDDEN = onnx.parser.parse_model(
    """<ir_version: 10, opset_import: ["" : 18]>
    g (float["n", 4] x) => (float["n", 4] y) {
      [abs] a = Abs(x)
      [minus] b = Neg(a)
      [zero] c = Relu(b)
      [sum] y = Add(x, c)
    }"""
)
"""Whatever multiple of ``a`` there is, ``c`` is 0."""


@dataclass(frozen=True)
class DoubleAbs(Pass):
    """Puts twice its result in the place of every Abs."""

    name: ClassVar[str] = "double_abs"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Abs"):
            again = rewriter.node("Abs", [node.inputs[0]], like=node.outputs[0])
            twice = rewriter.node("Add", [again.outputs[0]] * 2, like=node.outputs[0])
            rewriter.replace([node], [again, twice], {node.outputs[0]: twice.outputs[0]})
            return


@dataclass(frozen=True)
class MoveFactor(DoubleAbs):
    name: ClassVar[str] = "move_factor"
    moves_factors: ClassVar[bool] = True


def test_a_fault_that_no_output_shows_is_found_where_it_is_made():
    expected = r"^double_abs, rule 'double_abs', rewrite 1 of 1, at node 'abs': value 'a' differs by \S+, where \S+ is"
    with pytest.warns(WrongRewriteWarning, match=expected):
        optimized = optimize(HIDDEN, passes=[DoubleAbs()], verify=True)
    assert operators(optimized) == operators(HIDDEN)


def test_a_pass_that_moves_factors_is_judged_by_outputs_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert operators(optimize(HIDDEN, passes=[MoveFactor()], verify=True)) == {
            "Abs": 1,
            "Neg": 1,
            "Relu": 1,
            "Add": 2,
        }


@dataclass(frozen=True)
class WrongConstant(Pass):
    """Folds every Neg of a constant to the constant."""

    name: ClassVar[str] = "wrong_constant"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Neg"):
            if (constant := node.inputs[0]) is not None and constant.is_initializer():
                rewriter.replace([node], [], {node.outputs[0]: constant})


def test_a_wrong_constant_that_no_output_shows_is_found_too():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float["n", 4] x) => (float["n", 4] y) <float[1] one = {1}> {
          m = Neg(one)
          a = Abs(x)
          b = Neg(a)
          c = Min(m, b)
          d = Relu(c)
          y = Add(d, x)
        }"""
    )
    with pytest.warns(WrongRewriteWarning, match="value 'm' differs by 2, where 0.001 is rounding"):
        optimize(model, passes=[WrongConstant()], verify=True)


def test_what_is_read_in_another_shape_or_broadcast_is_right():
    model = make(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float["n", 3, 4] x, float[5] e) => (float["n", 3, 5] y) {
          p = MatMul(x, v)
          h = Add(p, c)
          i = Relu(h)
          j = MatMul(i, v)
          k = Add(j, c)
          l = Relu(k)
          m = MatMul(l, w)
          q = Add(m, b)
          r = Expand(e, size)
          y = Add(q, r)
        }""",
        v=np.eye(4, dtype=np.float32) / 2,
        c=np.ones(4, np.float32),
        w=np.eye(4, 5, dtype=np.float32),
        b=np.ones(5, np.float32),
        size=np.array([1, 3, 1]),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert operators(optimize(model, verify=True)) == {"Reshape": 2, "Gemm": 3, "Relu": 2, "Add": 1}
