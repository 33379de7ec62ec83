"""Inputs drawn from a signature, and the statement of what was drawn."""

import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.runtimes import FeedError, inputs_from_signature, open_session


def session_of(inputs, first="a"):
    text = f'<ir_version: 10, opset_import: ["" : 21]> g ({inputs}) => (y) {{ y = Identity({first}) }}'
    return open_session(ir.from_onnx_text(text))


def test_equal_dimension_names_get_equal_sizes_and_sums_are_added():
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[batch,past,4] a, int64[batch,sequence] b, bool[batch,total] c) => (y) { y = Identity(a) }"""
    )
    model.graph.inputs[2].shape = ir.Shape(["batch", "past + sequence"])
    drawn = inputs_from_signature(open_session(model), 0)
    assert {name: array.shape for name, array in drawn.items()} == {"a": (2, 8, 4), "b": (2, 8), "c": (2, 16)}


def test_spatial_axes_of_images_are_large_enough_to_pool():
    assert inputs_from_signature(session_of("float[N,3,H,W] a"), 0)["a"].shape == (2, 3, 64, 64)


def test_named_dimensions_may_be_of_another_size_and_numbers_stay():
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[N,3,H] a, int64[N,total] b) => (y) { y = Identity(a) }"""
    )
    model.graph.inputs[1].shape = ir.Shape(["N", "N + H"])
    drawn = inputs_from_signature(open_session(model), 0, 5)
    assert {name: array.shape for name, array in drawn.items()} == {"a": (5, 3, 5), "b": (5, 10)}


@pytest.mark.parametrize(
    ("element", "dtype", "low", "high"),
    [
        ("float", np.float32, -6, 6),
        ("float16", np.float16, -6, 6),
        ("int64", np.int64, 0, 1),
        ("int32", np.int32, 0, 1),
        ("int8", np.int8, -128, 127),
        ("uint8", np.uint8, 0, 255),
        ("bool", np.bool_, 0, 1),
    ],
)
def test_each_type_is_drawn_over_its_own_range(element, dtype, low, high):
    drawn = inputs_from_signature(session_of(f"{element}[1000] a"), 0)["a"]
    assert drawn.dtype == dtype
    assert low <= drawn.min() < drawn.max() <= high


def test_equal_seeds_give_equal_inputs_and_different_seeds_different_ones():
    session = session_of("float[N,4] a")
    first, again, other = (inputs_from_signature(session, seed)["a"].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_is_drawn_runs():
    session = session_of("bfloat16[N,4] a")
    assert session.run(inputs_from_signature(session, 0))["y"].shape == (2, 4)


def test_an_input_that_is_no_tensor_asks_for_an_inputs_function():
    session = open_session(
        ir.from_onnx_text(
            '<ir_version: 8, opset_import: ["" : 18]> g (seq(float[]) a, int64 i) => (y) { y = SequenceAt(a, i) }'
        ),
    )
    with pytest.raises(FeedError, match=r"input 'a' is seq\(tensor\(float\)\).*give the model case an inputs function"):
        inputs_from_signature(session, 0)
