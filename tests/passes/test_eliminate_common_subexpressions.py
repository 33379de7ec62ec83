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


@pytest.mark.parametrize("order", [1, -1])
def test_the_node_with_more_of_the_optional_outputs_stays(order: int) -> None:
    pools = ["a = MaxPool <kernel_shape = [2]> (x3)", "b, i = MaxPool <kernel_shape = [2]> (x3)"][::order]
    body = "\n".join(["x3 = Unsqueeze (x, axis)", *pools, "c = Add (a, b)", "d = Cast <to = 1> (i)", "y = Sub (c, d)"])
    both = make(f"{HEADER} g (float[n,4] x) => (float[a,b,c] y) {{ {body} }}", axis=np.array([1]))

    assert [fires(PASS, place)["MaxPool"] for place in (both, in_subgraph(both), in_function(both))] == [1, 2, 1]


def test_nodes_that_each_leave_out_a_result_of_the_other_stay() -> None:
    each = make(
        f"{HEADER} g (float[n,4] x) => (float[a,b,c,d] p, float[e,f,g] q) "
        '{ x3 = Unsqueeze (x, axis) p = GRU <hidden_size = 2> (x3, w, r) "", q = GRU <hidden_size = 2> (x3, w, r) }',
        axis=np.array([1]), w=np.ones((1, 6, 4), np.float32), r=np.ones((1, 6, 2), np.float32),
    )  # fmt: skip

    assert refuses(PASS, each) == {"each has a result that the other leaves out"}


def test_the_number_of_outputs_of_a_split_says_how_it_splits() -> None:
    body = "a, b = Split <axis = 1, num_outputs = 2> (x)\n c = Split <axis = 1, num_outputs = 1> (x)"
    ignores(PASS, model(f"{body}\n d = Concat <axis = 1> (b, a)\n y = Sub (c, d)"))


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
