from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.rewriting.opset_upgrade import raise_opset
from pytest_modelcheck.rewriting.rewriter import Rewriter
from tests.passes.fusing_checks import make, worst_difference


def raised(
    body: str, *, opset: int, to: int = 23, **more: np.ndarray[Any, Any]
) -> tuple[str | None, onnx.ModelProto, onnx.ModelProto]:
    used = {name: value for name, value in more.items() if name in body}
    header = f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[2,3,4] x) => (float[a,b,c] y)'
    before = make(f"{header} {{ {body} }}", **used)
    model = ir.from_proto(before)
    rewriter = Rewriter(model, pass_name="test", target="opset23")
    reason = raise_opset(rewriter, to)
    return reason, before, ir.to_proto(model)


@pytest.mark.parametrize(
    "body",
    [
        "r = Reshape (x, shape)\n t = Transpose <perm = [1, 0, 2]> (r)\n y = Cast <to = 1> (t)",
        "s = Softmax <axis = -1> (x)\n m = MatMul (s, w)\n y = Add (m, x)",
        "m = ReduceMean <axes = [-1]> (x)\n y = Sub (x, m)",
    ],
)
def test_operators_that_mean_the_same_are_raised_and_compute_the_same(body: str) -> None:
    weights = {"shape": np.array([3, 2, 4]), "w": np.eye(4, dtype=np.float32)}
    reason, before, after = raised(body, opset=14, **weights)

    assert reason is None
    assert after.opset_import[0].version == 23
    onnx.checker.check_model(after, full_check=True)
    assert worst_difference(before, after) == 0


@pytest.mark.parametrize(
    ("body", "opset", "reason"),
    [
        ("y = Softmax <axis = 1> (x)", 11, "opset 23 would change Softmax: its semantics differ there"),
        (
            "a, b = Split <axis = 2> (x)\n y = Concat <axis = 2> (a, b)",
            14,
            "opset 23 would change Split: its semantics differ there",
        ),
        ("y = Squeeze <axes = [0]> (q)", 11, None),
    ],
)
def test_operators_that_changed_are_refused_and_nothing_is_edited(body: str, opset: int, reason: str | None) -> None:
    if "Squeeze" in body:
        body = "q = Unsqueeze <axes = [0]> (x)\n y = Squeeze <axes = [0]> (q)"
    found, _, after = raised(body, opset=opset)

    assert found == reason
    assert after.opset_import[0].version == (23 if reason is None else opset)


def test_a_model_that_is_there_already_is_left_alone() -> None:
    reason, before, after = raised("y = Relu (x)", opset=23)

    assert reason is None
    assert [i.version for i in after.opset_import] == [i.version for i in before.opset_import]
