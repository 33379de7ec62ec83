"""Inferring what was edited says as much as inferring everything, and takes a part of it."""

from __future__ import annotations

import re

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.partial_inference import infer_edited
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import prepare
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes import symbolic_shapes
from pytest_modelcheck.shapes.edits import Edits
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes
from tests.passes.random_programs import draw_program
from tests.passes.random_steps import STEPS


def said(model: ir.Model) -> dict[str, tuple[str, str]]:
    """What is declared of each value, unknown sizes without the names that inference invents for them."""
    values = [value for node in all_nodes(model) for value in node.outputs if not value.is_graph_output()]
    return {str(value.name): (str(value.type), re.sub(r"unk__\w+|None", "?", str(value.shape))) for value in values}


@pytest.mark.parametrize("block", range(3))
def test_after_every_pass_inferring_everything_says_nothing_new(block: int) -> None:
    for seed in range(block * 20, block * 20 + 20):
        program = draw_program(seed, STEPS)
        assert program is not None
        model = prepare(ir.from_proto(program))
        shapes = SymbolicShapes(model)
        for pass_ in PASSES:
            pass_.run(model, shapes)
            shapes.infer()
            known = said(model)
            infer_shapes(model)
            assert known == said(model), (seed, pass_.name)


def prepared(body: str) -> ir.Model:
    inputs = "float[n, 4] x, bool c, int64[2] t"
    text = f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => (float[a, b] y) {{ {body} }}'
    return prepare(ir.from_proto(onnx.parser.parse_model(text)))


def chain(length: int) -> str:
    steps = " ".join(f"v{i + 1} = Relu(v{i})" for i in range(length))
    return f"v0 = Abs(x) w = Reshape(v0, t) u = Exp(w) d = Flatten(u) e = Sqrt(d) y = Neg(e) {steps}"


def test_what_follows_from_an_edit_is_known_and_nothing_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    model = prepared(chain(20))
    monkeypatch.setattr(symbolic_shapes, "infer_shapes", lambda model: pytest.fail("the whole model is inferred"))
    rewriter = Rewriter(model, pass_name="test", target="portable")
    rewriter.set_input(model.graph.node(1), 1, rewriter.integers(model.graph, [8, -1], "target"))
    rewriter.infer_shapes()
    assert [str(model.graph.node(index).outputs[0].shape)[:3] for index in (1, 2, 3, 4)] == ["[8,"] * 4


@pytest.mark.parametrize(
    "body",
    [
        "a = If(c) <then_branch = t () => (float[p, q] u) { u = Abs(x) }, "
        "else_branch = e () => (float[p, q] v) { v = Neg(x) }> b = Relu(a) d = Relu(b) y = Exp(d)",
        "y = Abs(x)",
    ],
)
def test_a_subgraph_and_most_of_the_nodes_are_inferred_with_the_whole(body: str) -> None:
    model = prepared(body)
    assert not infer_edited(model, [model.graph.node(0)], [])


def test_the_content_of_a_shape_tensor_is_followed_to_what_it_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edited Concat makes two integers, before and after: only what they are is known now."""
    others = " ".join(f"v{i + 1} = Relu(v{i})" for i in range(20))
    body = "s = Neg(t) a = Concat<axis = 0>(s) w = Reshape(x, a) u = Exp(w) d = Sqrt(u) y = Neg(d) v0 = Abs(x)"
    model = prepared(f"{body} {others}")
    monkeypatch.setattr(symbolic_shapes, "infer_shapes", lambda model: pytest.fail("the whole model is inferred"))
    rewriter = Rewriter(model, pass_name="test", target="portable")
    rewriter.set_input(model.graph.node(1), 0, rewriter.integers(model.graph, [8, -1], "target"))
    rewriter.infer_shapes()
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    assert str(reshape.outputs[0].shape)[:3] == "[8,"


def test_sizes_that_two_inferences_do_not_know_are_not_taken_for_equal() -> None:
    """Each inference counts its invented names from 0 on."""
    model = prepared("m = NonZero(x) n = Neg(m) z = Abs(m) k = NonZero(c) l = Abs(k) o = Neg(l) y = Cast<to = 1>(l)")
    counted = [node.outputs[0] for node in model.graph if node.op_type == "NonZero"]
    for value in counted:
        value.shape = None
        assert infer_edited(model, [node for node in model.graph if node.outputs[0] is value], [])
    first, second = (value.shape for value in counted)
    assert first is not None
    assert second is not None
    assert first[-1] != second[-1]


def test_readers_of_what_many_values_became_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[ir.Value] = []
    uses = ir.Value.uses

    def counted(value: ir.Value) -> object:
        listed.append(value)
        return uses(value)

    monkeypatch.setattr(ir.Value, "uses", counted)
    shared = ir.Value(name="shared", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([1]))
    readers = [ir.node("Relu", [shared]) for _ in range(3)]
    edits = Edits()
    edits.replaced.update({ir.Value(name=f"equal_{index}"): shared for index in range(3)})
    assert edits.concerned() == set(readers)
    assert listed == [shared]
