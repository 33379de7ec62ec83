from __future__ import annotations

import onnx
import onnx_ir as ir

from pytest_modelcheck.passes.freeze_dynamic_shapes import FreezeDynamicShapes
from pytest_modelcheck.pipeline import PassStatus, run_pass
from tests.passes.fusing_checks import ignores, make, worst_difference
from tests.passes.rule_cases import RuleCase

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[batch,seq,5] x, float[batch,5] z) => (float[batch,seq,5] y) {
      n = Relu (x)
      y = Add (n, n)
    }"""


def with_an_input_without_rank() -> onnx.ModelProto:
    model = make(TEXT)
    model.graph.input.append(onnx.helper.make_tensor_value_info("free", onnx.TensorProto.FLOAT, None))
    return model


def shapes(model: ir.Model) -> list[list[object]]:
    return [list(value.shape or ()) for value in (*model.graph.inputs, *model.graph.outputs)]


def test_named_axes_get_their_sizes_and_others_the_default() -> None:
    model = make(TEXT)
    frozen, record = run_pass(ir.from_proto(model), FreezeDynamicShapes(sizes=(("batch", 3),), default=7))

    assert record.status is PassStatus.FIRED
    assert shapes(frozen) == [[3, 7, 5], [3, 5], [3, 7, 5]]
    assert record.notes == ("x axis 0 'batch' -> 3", "x axis 1 'seq' -> 7", "z axis 0 'batch' -> 3")
    assert worst_difference(ir.to_proto(frozen), ir.to_proto(frozen)) == 0
    again, second = run_pass(frozen, FreezeDynamicShapes())
    assert second.status is PassStatus.NO_OP
    assert again is frozen


def test_an_axis_without_a_size_is_refused_and_nothing_is_frozen() -> None:
    model = ir.from_proto(make(TEXT))
    same, record = run_pass(model, FreezeDynamicShapes(sizes=(("batch", 3),), default=None))

    assert same is model
    assert [(r.reason, r.node) for r in record.refusals] == [("no size is given for axis 1 (seq)", "x")]


def test_a_graph_input_without_a_rank_is_refused() -> None:
    _, record = run_pass(ir.from_proto(with_an_input_without_rank()), FreezeDynamicShapes())

    assert [r.reason for r in record.refusals] == ["the rank of a graph input is not known"]


def test_a_static_model_is_left_alone() -> None:
    ignores(FreezeDynamicShapes(), make(TEXT.replace("batch", "2").replace("seq", "4")))


def test_branches_of_an_if_see_the_frozen_sizes() -> None:
    model = make(
        """<ir_version: 10, opset_import: ["" : 20]>
        g (float[batch,5] x, bool c) => (float[batch,5] y) {
          y = If (c) <then_branch = t () => (float[batch,5] a) { a = Relu (x) },
                      else_branch = e () => (float[batch,5] b) { b = Neg (x) }>
        }"""
    )
    frozen, record = run_pass(ir.from_proto(model), FreezeDynamicShapes(default=4))

    assert record.status is PassStatus.FIRED
    inner = [output for node in frozen.graph.all_nodes() for output in node.outputs]
    assert all(list(value.shape or ()) == [4, 5] for value in inner)


CASES = (
    RuleCase(
        pass_=FreezeDynamicShapes(default=3),
        rule="freeze_dynamic_shapes",
        fires=make(TEXT.replace("seq", "4")),
        refused=with_an_input_without_rank(),
        reason="the rank of a graph input is not known",
    ),
)
