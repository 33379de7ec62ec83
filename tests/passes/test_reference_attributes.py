"""An attribute that only the caller of a function knows: no pass raises, none takes it for the default."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes import PASSES, TARGET_PASSES, TARGETS
from pytest_modelcheck.pipeline import run_pipeline
from tests.passes.fusing_checks import worst_difference

BODIES = {
    "normalization": (
        "axes",
        "[-1]",
        """m = ReduceMean <axes: ints = @axes> (x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean <axes: ints = @axes> (q)
           e = Constant <value_float = 0.00001> () g = Add(v, e) r = Sqrt(g) y = Div(d, r)""",
    ),
    "one norm operator": (
        "axis",
        "-1",
        """s = Constant <value_floats = [2.0, 3.0, 4.0, 5.0]> ()
           y = LayerNormalization <axis: int = @axis> (x, s)""",
    ),
    "transposes": (
        "perm",
        "[0, 2, 1]",
        """a = Transpose <perm: ints = @perm> (x) b = Relu(a) c = Transpose <perm: ints = @perm> (b)
           d = Transpose <perm: ints = @perm> (c) y = Transpose <perm: ints = @perm> (d)""",
    ),
    "transposed weight": (
        "perm",
        "[1, 0]",
        """w = Constant <value = float[4, 4] {1,2,3,4, 5,6,7,8, 9,10,11,12, 13,14,15,16}> ()
           t = Transpose <perm: ints = @perm> (w) b = Constant <value_floats = [2.0, 3.0, 4.0, 5.0]> ()
           p = MatMul(x, t) y = Add(p, b)""",
    ),
    "reduction of a transpose": (
        "keepdims",
        "1",
        """a = Constant <value_ints = [1, 2]> () t = Transpose <perm = [1, 0, 2]> (x)
           s = ReduceSum <keepdims: int = @keepdims> (t, a) u = Transpose <perm = [1, 0, 2]> (s) y = Add(x, u)""",
    ),
    "attention": (
        "axis",
        "-1",
        """t = Transpose <perm = [0, 2, 1]> (x) s = MatMul(x, t) p = Softmax <axis: int = @axis> (s)
           y = MatMul(p, x)""",
    ),
    "softmax between transposes": (
        "axis",
        "-1",
        """t = Transpose <perm = [0, 2, 1]> (x) s = Softmax <axis: int = @axis> (t)
           y = Transpose <perm = [0, 2, 1]> (s)""",
    ),
}


def model_with(name: str) -> onnx.ModelProto:
    attribute, given, body = BODIES[name]
    model = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17, "d": 1]>
        main (float[2, 3, 4] x) => (float[2, 3, 4] y) {{ y = d.f <{attribute} = {given}> (x) }}
        <domain: "d", opset_import: ["": 17]> f <{attribute}> (x) => (y) {{ {body} }}""")
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", BODIES)
def test_no_pass_raises_or_changes_a_number(name, target):
    model = model_with(name)
    passes = (*PASSES, *(pass_ for pass_ in TARGET_PASSES if pass_.name != "check_tflite_ops"))
    optimized, records = run_pipeline(ir.from_proto(model), passes, target=target)
    assert [(record.name, record.error) for record in records if record.error] == []
    assert worst_difference(model, ir.to_proto(optimized)) <= 1e-5


def test_the_axes_of_a_normalization_are_not_taken_for_known():
    _, records = run_pipeline(ir.from_proto(model_with("normalization")), None)
    assert [record.name for record in records if record.delta] == []
