from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from pytest_modelcheck.pipeline import run_pass
from tests.passes.fusing_checks import fires, ignores, in_function, in_subgraph, make, refuses
from tests.passes.rule_cases import RuleCase

PASS = EliminateCommonSubexpressions()
HEADER = '<ir_version: 10, opset_import: ["" : 20]>'


def model(body: str, outputs: str = "float[a,b] y") -> onnx.ModelProto:
    return make(f"{HEADER} g (float[n,4] x) => ({outputs}) {{ {body} }}", one=np.ones(4, np.float32))


CHAINS = """a = Add (x, one)
    b = Sigmoid (a)
    c = Add (x, one)
    d = Sigmoid (c)
    y = Mul (b, d)"""


def test_equal_chains_fall_together_in_one_sweep() -> None:
    assert fires(PASS, model(CHAINS)) == {"Add": 1, "Mul": 1, "Sigmoid": 1}


def test_branches_and_functions_are_swept_too() -> None:
    assert fires(PASS, in_subgraph(model(CHAINS))) == {"Add": 2, "If": 1, "Mul": 2, "Sigmoid": 2}
    assert fires(PASS, in_function(model(CHAINS))) == {"Add": 1, "Mul": 1, "Sigmoid": 1, "test.local:Body": 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = Softmax <axis = 0> (x)\n b = Softmax <axis = 1> (x)\n y = Add (a, b)",
        "a = Sub (x, one)\n b = Sub (one, x)\n y = Add (a, b)",
        "a = Sigmoid (x)\n b = Tanh (x)\n y = Add (a, b)",
    ],
)
def test_nodes_that_differ_stay(body: str) -> None:
    ignores(PASS, model(body))


def test_random_numbers_are_drawn_twice() -> None:
    ignores(PASS, model("a = RandomNormalLike (x)\n b = RandomNormalLike (x)\n y = Add (a, b)"))


def test_an_output_takes_its_name_from_the_node_that_goes() -> None:
    twice = model("a = Relu (x)\n b = Neg (a)\n y = Relu (x)", "float[a,b] y, float[c,d] b")
    after, _ = run_pass(ir.from_proto(twice), PASS)

    assert [value.name for value in after.graph.outputs] == ["y", "b"]
    assert len(after.graph) == 2


def test_two_outputs_are_refused() -> None:
    both = model("y = Relu (x)\n z = Relu (x)", "float[a,b] y, float[c,d] z")

    assert refuses(PASS, both) == {"both results are graph outputs"}


CASES = (
    RuleCase(
        pass_=PASS,
        rule="eliminate_common_subexpressions",
        fires=model(CHAINS),
        counts={"Add": 1, "Mul": 1, "Sigmoid": 1},
        refused=model("y = Relu (x)\n z = Relu (x)", "float[a,b] y, float[c,d] z"),
        reason="both results are graph outputs",
    ),
)
