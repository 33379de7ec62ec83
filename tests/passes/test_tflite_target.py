"""Target ``tflite``: preparation, the other passes, and a check that names what cannot be converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.errors import PassFailedError
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes import PASSES, passes_for
from pytest_modelcheck.passes.check_tflite_ops import BUILTINS, CheckTfliteOps
from pytest_modelcheck.pipeline import PassStatus, optimize, run_pass, run_pipeline
from tests.passes.fusing_checks import in_function, in_subgraph, make, outputs, refuses

CHECK = CheckTfliteOps()
WEIGHTS = {
    "w": np.linspace(-1, 1, 48, dtype=np.float32).reshape(6, 8),
    "scale": np.linspace(0.5, 2, 6, dtype=np.float32),
    "bias": np.linspace(-1, 1, 6, dtype=np.float32),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "root": np.float32(np.sqrt(2)),
}
LAYER = """<ir_version: 9, opset_import: ["" : 17]> g (float[batch,n,6] x) => (float[batch,n,8] y) {
    normal = LayerNormalization (x, scale, bias)
    product = Einsum <equation = "bni,io->bno"> (normal, w)
    scaled = Div (product, root)
    error = Erf (scaled)
    plus = Add (error, one)
    times = Mul (product, plus)
    y = Mul (times, half)
}"""


def layer() -> onnx.ModelProto:
    return make(LAYER, **WEIGHTS)


def one(node: str, *, shape: str = "2,3,4,4", opset: int = 20, **values: Any) -> onnx.ModelProto:
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[{shape}] x) => (float[a,b,c,d] y)'
    return make(f"{text} {{ {node} }}", **values)


def test_a_transformer_layer_is_left_with_builtin_operators_static_shapes_and_the_same_numbers() -> None:
    model = layer()
    after, records = run_pipeline(ir.from_proto(model), target="tflite")

    assert records[-1].status is PassStatus.NO_OP
    counts = op_counts(after)
    assert counts.keys() <= BUILTINS.keys()
    assert counts["Gelu"] == 1
    assert not {"LayerNormalization", "Einsum", "Erf"} & counts.keys()
    assert [str(value.shape) for value in (*after.graph.inputs, *after.graph.outputs)] == ["[1,1,6]", "[1,1,8]"]
    given = {"x": np.linspace(-2, 2, 6, dtype=np.float32).reshape(1, 1, 6)}
    expected, found = outputs(model, given)["y"], outputs(ir.to_proto(after), given)["y"]
    assert np.abs(expected - found).max() <= 1e-5


def test_the_frozen_axes_are_reported() -> None:
    _, records = run_pipeline(ir.from_proto(layer()), target="tflite")

    assert records[0].notes == ("x axis 0 'batch' -> 1", "x axis 1 'n' -> 1")


def test_the_pipeline_of_the_target_is_preparation_the_default_passes_and_the_check() -> None:
    names = [pass_.name for pass_ in passes_for("tflite")]

    assert names[:3] == ["freeze_dynamic_shapes", "einsum_to_matmul", "decompose_layernorm"]
    assert names[3:-1] == [pass_.name for pass_ in PASSES]
    assert names[-1] == "check_tflite_ops"
    assert passes_for("portable") is PASSES


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ("y = Erf (x)", "TensorFlow Lite has no built-in operator for Erf"),
        (
            'y = Resize <mode = "cubic"> (x, , sizes)',
            "TensorFlow Lite resizes bilinearly or to the nearest, not cubically",
        ),
        ('y = Pad <mode = "wrap"> (x, pads)', "TensorFlow Lite pads with a constant or a mirror image, not around"),
    ],
)
def test_what_has_no_builtin_operator_is_refused_with_its_reason(node: str, reason: str) -> None:
    constants: dict[str, Any] = {
        "sizes": np.array([1, 1, 2, 2], np.float32),
        "pads": np.array([0, 0, 0, 1, 0, 0, 0, 1], np.int64),
    }
    used = {name: value for name, value in constants.items() if name in node}

    assert refuses(CHECK, one(node, **used)) == {reason}


def test_operators_with_builtin_ones_pass_the_check() -> None:
    node = 't = Relu (x) s = Resize <mode = "linear"> (t, , sizes) y = Softmax (s)'
    _, record = run_pass(ir.from_proto(one(node, sizes=np.array([1, 1, 2, 2], np.float32))), CHECK)

    assert record.status is PassStatus.NO_OP


@pytest.mark.parametrize("nest", [in_subgraph, in_function])
def test_nodes_of_subgraphs_and_functions_are_checked(nest: Any) -> None:
    nested = nest(make('<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) { y = Erf (x) }'))

    assert refuses(CHECK, nested) == {"TensorFlow Lite has no built-in operator for Erf"}


def test_a_contrib_operator_is_refused() -> None:
    model = ir.from_proto(one("y = Relu (x)"))
    model.graph[0].domain = "com.microsoft"
    model.opset_imports["com.microsoft"] = 1
    (refused,) = CHECK(model).refusals  # type: ignore[attr-defined]

    assert refused.reason == "com.microsoft:Relu is not a standard operator"


def test_optimize_names_the_nodes_that_cannot_be_converted_and_writes_nothing(tmp_path: Any) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(one("y = Erf (x)"), path)
    with pytest.raises(
        PassFailedError,
        match=r"cannot be converted to TensorFlow Lite: node '.+': TensorFlow Lite has no built-in operator for Erf",
    ):
        optimize(path, target="tflite")
    assert list(tmp_path.iterdir()) == [path]


def test_portable_still_writes_gelu_and_layernorm_as_before() -> None:
    after, _ = run_pipeline(ir.from_proto(layer()))

    assert {"LayerNormalization", "Erf"} <= op_counts(after).keys()
