"""Element types that schemas fix, where shape inference knows none."""

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.schema_types import declare_fixed_types
from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from tests.passes.fusing_checks import fires, ignores, in_subgraph, make


def scaled(to: int = 1, op: str = "Scaler <offset = [0.0], scale = [2.0]>") -> onnx.ModelProto:
    return make(
        f"""<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 2]> g (float[n,4] x) => (float[a,b] y) {{
            s = ai.onnx.ml.{op} (x) c = Cast <to = {to}> (s) y = Cast <to = 1> (c)
        }}"""
    )


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph])
def test_a_cast_to_what_an_operator_gives_anyway_goes(place) -> None:
    # As skl2onnx writes one behind every Scaler, LinearRegressor, SVMRegressor and tree ensemble.
    counts = fires(EliminateIdentityOps(), place(scaled()))
    assert "Cast" not in counts


def test_a_cast_to_less_stays() -> None:
    ignores(EliminateIdentityOps(), scaled(to=10))


def test_a_type_that_an_operator_takes_over_from_its_input_is_known() -> None:
    # As skl2onnx writes an Imputer, and the column that a discretizer takes of it.
    assert "Cast" not in fires(EliminateIdentityOps(), scaled(op="Imputer <imputed_value_floats = [0.0]>"))


def test_what_several_types_are_allowed_for_and_what_no_schema_is_known_of_stays_open() -> None:
    classes = "LinearClassifier <classlabels_ints = [0, 1], coefficients = [1.0, 1.0, 1.0, 1.0]>"
    chosen, unknown = scaled(op="Scaler"), scaled()
    chosen.graph.node[0].CopyFrom(onnx.parser.parse_node(f"s, scores = ai.onnx.ml.{classes} (x)"))
    unknown.graph.node[0].op_type = "Unheard"
    for model in (chosen, unknown):
        read = ir.from_proto(model)
        declare_fixed_types(read)
        assert read.graph[0].outputs[0].type is None


def test_a_type_is_written_where_there_was_none() -> None:
    model = ir.from_proto(scaled())
    declare_fixed_types(model)
    assert model.graph[0].outputs[0].dtype == ir.DataType.FLOAT
