"""Target ``tflite``: preparation, the other passes, and a check that names what cannot be converted."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, check_export
from pytest_modelcheck.__main__ import main
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes import PASSES, passes_for
from pytest_modelcheck.passes.check_tflite_ops import BUILTINS, COMPOSED, CheckTfliteOps
from pytest_modelcheck.pipeline import ConversionWarning, PassStatus, optimize, run_pass, run_pipeline
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
    assert counts.keys() <= BUILTINS
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
        ("y = LpNormalization (x)", "TensorFlow Lite has no built-in operator for LpNormalization"),
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


LSTM = "y, h = LSTM <hidden_size = 2> (x, w, r)"


def test_a_recurrent_layer_passes_the_check() -> None:
    text = f'<ir_version: 9, opset_import: ["" : 17]> g (float[5,1,3] x) => (float[5,1,1,2] y) {{ {LSTM} }}'
    model = make(text, w=np.ones((1, 8, 3), np.float32), r=np.ones((1, 8, 2), np.float32))
    _, record = run_pass(ir.from_proto(model), CHECK)

    assert record.status is PassStatus.NO_OP
    assert not COMPOSED & BUILTINS


def test_operators_with_builtin_ones_pass_the_check() -> None:
    node = 't = Relu (x) s = Resize <mode = "linear"> (t, , sizes) y = Softmax (s)'
    _, record = run_pass(ir.from_proto(one(node, sizes=np.array([1, 1, 2, 2], np.float32))), CHECK)

    assert record.status is PassStatus.NO_OP


@pytest.mark.parametrize("nest", [in_subgraph, in_function])
def test_nodes_of_subgraphs_and_functions_are_checked(nest: Any) -> None:
    nested = nest(
        make('<ir_version: 8, opset_import: ["" : 17]> g (float[2,3] x) => (float[2,3] y) { y = LpNormalization (x) }')
    )

    assert refuses(CHECK, nested) == {"TensorFlow Lite has no built-in operator for LpNormalization"}


def test_a_contrib_operator_is_refused() -> None:
    model = ir.from_proto(one("y = Relu (x)"))
    model.graph[0].domain = "com.microsoft"
    model.opset_imports["com.microsoft"] = 1
    (refused,) = CHECK(model).refusals  # type: ignore[attr-defined]

    assert refused.reason == "com.microsoft:Relu is not a standard operator"


def test_optimize_writes_the_file_and_warns_of_what_a_converter_may_refuse(tmp_path: Any) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(one("y = LpNormalization (x)"), path)
    with pytest.warns(
        ConversionWarning,
        match=r"custom or Flex operators for node '.+': TensorFlow Lite has no built-in operator for LpNormalization",
    ):
        written = optimize(path, target="tflite")
    assert [node.op_type for node in onnx.load(written).graph.node] == ["LpNormalization"]


def shapes(model: onnx.ModelProto) -> list[str]:
    graph = ir.from_proto(model).graph
    return [str(value.shape) for value in (*graph.inputs, *graph.outputs)]


def test_axes_are_frozen_to_the_sizes_that_are_given() -> None:
    assert shapes(optimize(layer(), target="tflite", sizes={"n": 5})) == ["[1,5,6]", "[1,5,8]"]
    assert shapes(optimize(layer(), sizes={"n": 5, "batch": 2})) == ["[2,5,6]", "[2,5,8]"]
    assert shapes(optimize(layer())) == ["[batch,n,6]", "[batch,n,8]"]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"bacth": 1, "n": 2}, "no input has an axis 'bacth' (did you mean 'batch'?); there are batch, n"),
        ({"batch": 0, "n": 2}, "size 0 of axis 'batch' must be at least 1"),
        ({"n": 5}, "no size is given for batch of x: sizes freeze every axis or none"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(OptionError) as error:
        optimize(layer(), sizes=sizes)
    assert str(error.value) == message


@pytest.mark.parametrize(("option", "shape"), [([], "[1,1,6]"), (["--sizes", "batch=2, n=7"], "[2,7,6]")])
def test_sizes_are_an_option_of_the_command(tmp_path: Any, capsys: Any, option: list[str], shape: str) -> None:
    onnx.save(layer(), tmp_path / "net.onnx")
    assert main(["optimize", str(tmp_path / "net.onnx"), "--target", "tflite", *option]) == 0
    assert " nodes" in capsys.readouterr().out
    assert shapes(onnx.load(tmp_path / "net.optimized.onnx"))[0] == shape


def test_a_size_that_is_no_number_is_refused(tmp_path: Any, capsys: Any) -> None:
    onnx.save(layer(), tmp_path / "net.onnx")
    assert main(["optimize", str(tmp_path / "net.onnx"), "--sizes", "batch=many"]) != 0
    assert "--sizes 'batch=many' must be AXIS=N, e.g. batch=1,sequence=128" in capsys.readouterr().err


def test_a_case_is_frozen_to_the_sizes_of_its_example_inputs() -> None:
    case = ModelCase(
        "net",
        lambda: torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()),
        lambda seed: {"input": torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))},
        exporter="torchscript",
        dynamic_axes={"input": {0: "batch"}},
    )
    checked = ModelCheck(case, target="tflite")
    assert str(checked.optimized.graph.inputs[0].shape) == "[5,4]"
    assert check_export(case, target="tflite", gates={"expect_accuracy": {"seeds": 3, "varied": False}}).passed


def test_portable_still_writes_gelu_and_layernorm_as_before() -> None:
    after, _ = run_pipeline(ir.from_proto(layer()))

    assert {"LayerNormalization", "Erf"} <= op_counts(after).keys()
