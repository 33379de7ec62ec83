"""A model is written for the checker as `onnx_ir` writes it, metadata apart."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.plain_proto import plain_proto
from pytest_modelcheck.pipeline import prepare
from tests.passes.fusing_checks import in_function, in_subgraph, make
from tests.passes.random_programs import draw_program
from tests.passes.random_steps import STEPS


def without_metadata(proto: onnx.ModelProto) -> onnx.ModelProto:
    for node in proto.graph.node:
        node.ClearField("metadata_props")
    for field in ("metadata_props", "producer_name", "producer_version", "doc_string", "domain", "model_version"):
        proto.ClearField(field)
    proto.graph.ClearField("metadata_props")
    proto.graph.ClearField("doc_string")
    return proto


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_onnx_ir_writes(place, seed: int) -> None:
    proto = draw_program(seed, STEPS)
    assert proto is not None, "each of these seeds draws a program"
    model = prepare(ir.from_proto(place(proto)))

    assert without_metadata(plain_proto(model)) == without_metadata(ir.to_proto(model))


def test_sequences_omitted_inputs_and_unknown_sizes_are_written() -> None:
    text = '<ir_version: 10, opset_import: ["" : 18]> g (float[N,?] x, seq(float[2]) s) => (float[N,?] y, int64 n) '
    model = ir.from_proto(make(text + "{ y = Clip (x, , x) n = SequenceLength (s) }"))

    assert plain_proto(model) == ir.to_proto(model)


def test_a_value_without_a_name_is_an_error_in_words() -> None:
    model = ir.from_proto(
        make('<ir_version: 10, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = Abs (x) }')
    )
    model.graph.inputs[0].name = None

    with pytest.raises(Exception, match="name"):
        plain_proto(model)
