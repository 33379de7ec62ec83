"""A snapshot puts back, byte for byte, what any pass has edited."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.snapshot import Snapshot
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import prepare
from tests.passes.fusing_checks import in_function, in_subgraph, make
from tests.passes.random_programs import draw_program
from tests.passes.random_steps import STEPS

TEXT = '<ir_version: 10, opset_import: ["" : 18]> g (float[N,3] x, bool c) => (float[N,3] y) '


def written(model: ir.Model) -> bytes:
    return bytes(ir.to_proto(model).SerializeToString(deterministic=True))


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
@pytest.mark.parametrize("seed", range(8))
def test_what_each_pass_did_is_undone(place, seed: int) -> None:
    proto = draw_program(seed, STEPS)
    assert proto is not None, "each of these seeds draws a program"
    model = prepare(ir.from_proto(place(proto)))
    before, snapshot = written(model), Snapshot(model)
    edited = 0
    for pass_ in PASSES:
        edited += pass_.run(model).modified
        snapshot.restore()
        assert written(model) == before, pass_.name
    assert edited


def test_the_order_in_which_readers_are_listed_comes_back_too() -> None:
    model = prepare(ir.from_proto(make(TEXT + "{ a = Relu (x) b = Abs (a) d = Neg (a) y = Add (b, d) }")))
    (relu,) = (node for node in model.graph if node.op_type == "Relu")
    readers = [use.node.op_type for use in relu.outputs[0].uses()]
    snapshot = Snapshot(model)
    first = next(use.node for use in relu.outputs[0].uses())
    first.replace_input_with(0, model.graph.inputs[0])

    snapshot.restore()

    assert [use.node.op_type for use in relu.outputs[0].uses()] == readers == ["Abs", "Neg"]


def test_names_constants_imports_and_functions_come_back() -> None:
    proto = in_function(make(TEXT + "{ y = Relu (x) }"))
    model = ir.from_proto(proto)
    before, snapshot = written(model), Snapshot(model)
    model.opset_imports["other"] = 3
    model.metadata_props["k"] = "v"
    model.functions.clear()
    model.graph.inputs[0].name = "renamed"
    model.graph.inputs[0].shape = None
    for node in list(model.graph):
        node.op_type = "Abs"
        node.metadata_props["owner"] = "other"
        node.attributes["alpha"] = ir.AttrFloat32("alpha", 1.0)

    snapshot.restore()

    assert written(model) == before
    onnx.checker.check_model(ir.to_proto(model))
