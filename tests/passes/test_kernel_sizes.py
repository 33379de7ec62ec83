"""Sizes that kernels make differently from ONNX shape inference: onnxruntime's own output decides."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import in_function, make, outputs

X = np.linspace(-1, 1, 1 * 2 * 7 * 10, dtype=np.float32).reshape(1, 2, 7, 10)


def model_of(op: str, opset: int, *inputs: Any, **attributes: Any) -> onnx.ModelProto:
    """One node over `X` of a fixed size, and the Shape of what it makes."""
    given = {f"c{index}": array for index, array in enumerate(inputs) if array is not None}
    names = ["x", *("" if array is None else f"c{index}" for index, array in enumerate(inputs))]
    nodes = [helper.make_node(op, names, ["r"], **attributes), helper.make_node("Shape", ["r"], ["s"])]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Neg", ["s"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, X.shape)],
        [helper.make_tensor_value_info("y", 7, [4])],
        [onnx.numpy_helper.from_array(array, name) for name, array in given.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def assert_folded_as_computed(model: onnx.ModelProto) -> None:
    expected = outputs(model, {"x": X})["y"]
    after = optimize(model)
    assert [node.op_type for node in after.graph.node if node.op_type != "Constant"] == []
    assert outputs(after, {"x": X})["y"].tolist() == expected.tolist()


WINDOWS = list(itertools.product((1, 2, 3), (2, 3, 5), ([0] * 4, [1] * 4, [0, 1, 1, 0]), (1, 2)))


@pytest.mark.parametrize("opset", [11, 18, 19, 22])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_a_window_that_begins_in_the_end_padding_is_not_counted(op: str, opset: int) -> None:
    tried = 0
    for kernel, stride, pads, dilation in WINDOWS:
        if max(pads) >= kernel or (dilation > 1 and (op == "AveragePool" and opset < 19)):
            continue
        dilations = {"dilations": [dilation] * 2} if op == "MaxPool" or opset >= 19 else {}
        attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads, "ceil_mode": 1, **dilations}
        assert_folded_as_computed(model_of(op, opset, **attributes))
        tried += 1
    assert tried > 20


@pytest.mark.parametrize("behind", ["", "n = Neg (r)"])
def test_it_is_not_counted_in_a_function_either(behind: str) -> None:
    pool = "r = MaxPool <ceil_mode = 1, kernel_shape = [1, 1], strides = [2, 2]> (x)"
    header = '<ir_version: 10, opset_import: ["" : 17]> g (float[1,2,7,10] x) =>'
    whole = in_function(make(f"{header} (int64[4] y) {{ {pool} {behind} y = Shape ({'n' if behind else 'r'}) }}"))
    assert outputs(optimize(whole), {"x": X})["y"].tolist() == outputs(whole, {"x": X})["y"].tolist() == [1, 2, 4, 5]
    made = in_function(make(f"{header} (float[a,b,c,d] r) {{ {pool} }}"))
    assert outputs(optimize(made), {"x": X})["r"].shape == (1, 2, 4, 5)


@pytest.mark.parametrize(("opset", "roi"), [(11, np.zeros(0, np.float32)), (13, None), (18, None), (23, None)])
@pytest.mark.parametrize("scales", [(0.6, 0.7), (1.3, 2.7), (0.49, 0.5), (0.99, 1.01), (2.5, 0.334), (8 / 7, 1.1)])
def test_a_resize_by_scales_is_as_large_as_single_precision_makes_it(opset: int, roi: Any, scales: Any) -> None:
    factors = np.array([1, 1, *scales], np.float32)
    assert_folded_as_computed(model_of("Resize", opset, roi, factors, mode="nearest"))


@pytest.mark.parametrize("opset", [7, 8, 9])
@pytest.mark.parametrize("scales", [(2.0, 1.1), (8 / 7, 3.0)])
def test_so_is_an_upsample_whose_scales_were_an_attribute_below_opset_9(opset: int, scales: Any) -> None:
    factors = np.array([1, 1, *scales], np.float32)
    given = [factors] if opset == 9 else []
    attributes = {} if given else {"scales": factors.tolist()}
    assert_folded_as_computed(model_of("Upsample", opset, *given, mode="nearest", **attributes))


def test_sizes_behind_and_the_indices_of_a_pool_follow() -> None:
    text = """<ir_version: 10, opset_import: ["" : 17]> g (float[1,2,7,10] x) => (float[a,b,c,d] y, int64[e,f,g,h] z) {
        p, i = MaxPool <kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1> (x)
        q = MaxPool <kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1> (p)
        y = Relu (q) z = Identity (i)
    }"""
    model = ir.from_onnx_text(text)
    infer_shapes(model)
    first, second, *_ = model.graph

    assert str(first.outputs[0].shape) == str(first.outputs[1].shape) == "[1,2,4,5]"
    assert first.outputs[1].dtype == ir.DataType.INT64
    assert str(second.outputs[0].shape) == "[1,2,2,3]"


BOUNDS = ("start, two", "one, end", "start, two, zero", "one, two, axis", "one, two, zero, step")
VALUES = {"start": 1, "end": 2, "axis": 0, "step": 1}


def sliced_shape(bounds: str, *, inside: bool) -> onnx.ModelProto:
    """``Reshape(x, Shape(x)[1:2] ++ [8])``, one bound an input; in a branch the constants are those around it."""
    body = f"s = Shape (x) d = Slice (s, {bounds}) g = Concat <axis = 0> (d, eight) r = Reshape (x, g)"
    given = next(name for name in VALUES if name in bounds)
    ports = f"float[2,3,4] x, bool c, int64[1] {given}"
    if inside:
        flow = f"""{{ y, z = If (c) <
            then_branch = t () => (float[A,B] p, int64[K] q) {{ {body} p = Relu (r) h = Tanh (r) q = Shape (h) }},
            else_branch = f () => (float[A,B] v, int64[K] w) {{ v = Reshape (x, both) w = Shape (v) }}> }}"""
    else:
        flow = f"{{ {body} y = Relu (r) h = Tanh (r) z = Shape (h) }}"
    text = f'<ir_version: 10, opset_import: ["" : 18]> g ({ports}) => (float[A,B] y, int64[K] z) {flow}'
    constants = {"zero": [0], "one": [1], "two": [2], "eight": [8], "both": [3, 8]}
    return make(text, **{name: np.array(numbers) for name, numbers in constants.items() if name in flow})


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("bounds", BOUNDS)
def test_a_slice_of_a_shape_by_bounds_that_are_inputs_is_as_long_as_they_make_it(bounds: str, inside: bool) -> None:
    model = sliced_shape(bounds, inside=inside)
    given = {name: np.array([number]) for name, number in VALUES.items() if name in bounds}
    feeds = {"x": np.ones((2, 3, 4), np.float32), "c": np.array(True), **given}

    expected, found = outputs(model, feeds), outputs(optimize(model), feeds)

    assert expected["z"].tolist() == found["z"].tolist() == [3, 8]


def test_a_bound_that_is_a_constant_around_the_branch_is_not_taken_for_nought() -> None:
    model = sliced_shape("one, end", inside=True)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2]), "end"))
    del model.graph.input[2]
    feeds = {"x": np.ones((2, 3, 4), np.float32), "c": np.array(True)}

    assert outputs(optimize(model), feeds)["z"].tolist() == [3, 8]


POOL = "MaxPool <kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1> (x)"
CENTRED = f"p = {POOL} m = ReduceMean <axes = [3]> (p) r = Sub (p, m)"
DESCRIBED = {
    "main graph": f"<float[N,2,8,10] told> {{ told = Relu (x) {CENTRED} y = Neg (r) z = Neg (told) }}",
    "branch": f"""<float[N,2,8,10] told> {{ told = Relu (x) z = Neg (told) y = If (c) <
        then_branch = t () => (float[A,B,C,D] s) {{ {CENTRED} s = Neg (r) }},
        else_branch = e () => (float[A,B,C,D] o) {{ o = {POOL} }}> }}""",
}


@pytest.mark.parametrize("place", DESCRIBED)
def test_no_size_is_written_that_onnx_infers_differently(place: str, tmp_path: Path) -> None:
    header = '<ir_version: 10, opset_import: ["" : 17]> g (float[N,2,8,10] x, bool c) => '
    model = make(header + f"(float[A,B,C,D] y, float[E,F,G,H] z) {DESCRIBED[place]}")
    onnx.save(model, tmp_path / "model.onnx")

    for made in (optimize(model), onnx.load(optimize(tmp_path / "model.onnx"))):
        onnx.checker.check_model(made, full_check=True)
        assert "told" in {info.name for info in made.graph.value_info}
        feeds = {"x": np.random.default_rng(0).normal(size=(1, 2, 8, 10)).astype(np.float32), "c": np.array(True)}
        assert np.array_equal(outputs(model, feeds)["y"], outputs(made, feeds)["y"])
