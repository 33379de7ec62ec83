"""What is known about shapes is kept over passes: the answers are those of an object that knows nothing before."""

from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import prepare
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes
from tests.passes.fusing_checks import in_function, in_subgraph, make
from tests.passes.random_programs import draw_program
from tests.passes.random_steps import STEPS

TEXT = '<ir_version: 10, opset_import: ["" : 18]> g (float[N,4] x, int64[2] t) => (float[A,B] y) '
CHAIN = make(TEXT + "{ r = Reshape (x, t) a = Relu (r) y = Abs (a) }")


def without_symbols(answer: object) -> str:
    return "+".join(sorted(re.sub(r"~?axis\d+\.\d+|element\d+\.\d+|~?unk__\d+", "?", repr(answer)).split("+")))


def answers(shapes: SymbolicShapes, model: ir.Model) -> dict[str, tuple[str, str]]:
    values = [value for node in all_nodes(model) for value in node.outputs]
    return {str(v.name): (without_symbols(shapes.shape(v)), without_symbols(shapes.content(v))) for v in values}


def rewriting(model: ir.Model) -> Rewriter:
    return Rewriter(model, pass_name="test", target="portable")


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
@pytest.mark.parametrize("seed", range(20, 32))
def test_after_every_pass_they_are_what_a_new_object_says(place, seed: int) -> None:
    proto = draw_program(seed, STEPS)
    if proto is None:
        pytest.skip("the seed draws no program")
    model = prepare(ir.from_proto(place(proto)))
    shared = SymbolicShapes(model)
    shared.derive_all()
    for pass_ in PASSES:
        pass_.run(model, shared)
        shared.refresh()
        assert answers(shared, model) == answers(SymbolicShapes(model), model), pass_.name


def test_what_follows_from_an_exchanged_input_is_derived_again() -> None:
    model = prepare(ir.from_proto(CHAIN))
    rewriter = rewriting(model)
    reshape, relu = list(model.graph)[:2]
    assert without_symbols(rewriter.shapes().shape(relu.outputs[0])) == "(?, ?)"

    rewriter.set_input(reshape, 1, rewriter.integers(model.graph, [2, 6], "target"))

    assert rewriter.shapes().shape(relu.outputs[0]) == (2, 6)


def test_what_follows_from_a_replacement_is_derived_again_where_it_says_something_else() -> None:
    model = prepare(ir.from_proto(CHAIN))
    rewriter = rewriting(model)
    reshape, relu = list(model.graph)[:2]
    rewriter.shapes().shape(relu.outputs[0])
    target = rewriter.constant_value(model.graph, np.array([3, 4]), "target")
    made = rewriter.node("Reshape", [model.graph.inputs[0], target])

    rewriter.replace([reshape], [made], {reshape.outputs[0]: made.outputs[0]})

    assert rewriter.shapes().shape(relu.outputs[0]) == (3, 4)


def test_until_it_is_asked_for_again_the_answers_are_those_of_before() -> None:
    model = prepare(ir.from_proto(CHAIN))
    rewriter = rewriting(model)
    shapes, relu = rewriter.shapes(), list(model.graph)[1]
    shapes.shape(relu.outputs[0])

    rewriter.declare(model.graph.inputs[0], shape=[5, 4])
    rewriter.set_input(relu, 0, model.graph.inputs[0])

    assert without_symbols(shapes.shape(relu.outputs[0])) == "(?, ?)"
    assert rewriter.shapes().shape(relu.outputs[0]) == (5, 4)


def test_what_a_graph_input_declares_is_read_again() -> None:
    model = prepare(ir.from_proto(make(TEXT.replace("A,B", "N,4") + "{ a = Relu (x) y = Abs (a) }")))
    rewriter, relu = rewriting(model), next(iter(model.graph))
    assert without_symbols(rewriter.shapes().shape(relu.outputs[0])) == "(N, 4)"

    rewriter.declare(model.graph.inputs[0], shape=[7, 4])

    assert rewriter.shapes().shape(relu.outputs[0]) == (7, 4)


def test_a_copy_knows_what_the_original_knew_and_learns_alone() -> None:
    model = prepare(ir.from_proto(CHAIN))
    original, relu = SymbolicShapes(model), list(model.graph)[1]
    before = original.shape(relu.outputs[0])
    copy = original.copy()

    relu.outputs[0].shape = ir.Shape([1, 2])
    copy.edits.declared([relu.outputs[0]])
    copy.refresh()

    assert copy.shape(relu.outputs[0]) == (1, 2)
    assert original.shape(relu.outputs[0]) == before
