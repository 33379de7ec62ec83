"""Models that other optimizers broke, rebuilt from their trackers, and odd but valid ones: `reported/*.txt`.

The first line of a file says what it holds, and where it is from. Weights of more than 8 elements are drawn, in the
shape that the graph declares for them. Each keeps its numbers and its validity, and has nothing left for a second run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pytest_modelcheck.passes import Target
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import Array, feeds, outputs, session

FILES = sorted(Path(__file__).with_name("reported").glob("*.txt"))
TARGETS = [target for target in get_args(Target) if target != "tflite"]
ROUNDING = {
    np.dtype(ml_dtypes.bfloat16): 2e-2,
    np.dtype(np.float16): 2e-2,
    np.dtype(np.float32): 2e-3,
    np.dtype(np.float64): 1e-6,
}


def read(path: Path) -> onnx.ModelProto:
    text = path.read_text()
    model = onnx.parser.parse_model(text)
    draw = np.random.default_rng(0)
    for sign, names in re.findall(r"^# drawn(, positive)?: (.*)$", text, re.MULTILINE):
        for value in [info for info in model.graph.value_info if info.name in names.split(", ")]:
            type_ = value.type.tensor_type
            array = draw.normal(size=[dim.dim_value for dim in type_.shape.dim])
            array = (abs(array) + 0.1 if sign else array).astype(helper.tensor_dtype_to_np_dtype(type_.elem_type))
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
            model.graph.value_info.remove(value)
    return model


def agree(expected: Array, found: Array) -> bool:
    if (expected.dtype, expected.shape) != (found.dtype, found.shape):
        return False
    share = ROUNDING.get(expected.dtype)
    if share is None:
        return np.array_equal(expected, found)
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=0.0)))
    return np.allclose(
        expected.astype(np.float64), found.astype(np.float64), rtol=0, atol=share * scale, equal_nan=True
    )


def engine(model: onnx.ModelProto) -> Callable[[onnx.ModelProto, Mapping[str, Array]], dict[str, Any]]:
    """onnxruntime; where it has no kernel for an operator, or does not read the model, the reference implementation."""
    try:
        session(model)
    except Exception:  # onnxruntime's errors share no other class
        return lambda model, given: dict(
            zip([output.name for output in model.graph.output], ReferenceEvaluator(model).run(None, given), strict=True)
        )
    return outputs


def nodes(model: onnx.ModelProto) -> int:
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        graphs += [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return sum(node.op_type != "Constant" for graph in graphs for node in graph.node)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_model_that_others_broke_keeps_its_numbers(path: Path) -> None:
    model = read(path)
    target = TARGETS[FILES.index(path) % len(TARGETS)]
    optimized = optimize(model, target=target)
    if target != "onnxruntime":
        onnx.checker.check_model(optimized, full_check=True)
    assert nodes(optimize(optimized, target=target)) == nodes(optimized) <= nodes(model)
    compared, run = 0, engine(model)
    for size in (1, 2, 3):
        given = {name: array for name, array in feeds(model, "n", size=size).items() if name not in weights(model)}
        try:
            expected, again = run(model, given), run(model, given)
        except Exception:  # onnxruntime's errors share no other class; not every model takes all sizes
            continue
        found = run(optimized, given)
        for name, array in expected.items():
            if isinstance(array, np.ndarray) and agree(array, again[name]):  # neither a sequence, nor drawn
                assert agree(array, found[name]), f"{name} at {size}: {array} became {found[name]}"
                compared += 1
    assert compared or "random" in path.stem


def weights(model: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in model.graph.initializer}


def test_a_wrong_rewrite_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = optimize

    def wrong(model: onnx.ModelProto, *, target: Target) -> onnx.ModelProto:
        made = right(model, target=target)
        for node in made.graph.node:
            node.op_type = "Neg" if node.op_type == "Relu" else node.op_type
        return made

    monkeypatch.setitem(globals(), "optimize", wrong)
    path = next(path for path in FILES if path.stem == "ir_versions")
    with pytest.raises(AssertionError, match=r"^\w+ at 1: "):
        test_a_model_that_others_broke_keeps_its_numbers(path)
