"""A Reshape of what may have no elements keeps its target: onnxruntime computes no -1 beside a size of 0."""

import numpy as np
import onnx

from pytest_modelcheck.pipeline import optimize
from pytest_modelcheck.runtimes import open_session

GRAPH = """<ir_version: 10, opset_import: ["" : 18]>
g (float[N,6] x) => (float[M,0] y)
<int64[1] one = {1}, int64[1] zero = {0}, int64[1] six = {6}>
{
    empty = Slice(x, one, one, one)
    sizes = Shape(x)
    n = Slice(sizes, zero, one)
    more = Mul(n, six)
    target = Concat<axis: int = 0>(more, zero)
    y = Reshape(empty, target)
}
"""


def test_no_minus_one_beside_a_size_of_0():
    model = onnx.parser.parse_model(GRAPH)
    feeds = {"x": np.ones((2, 6), np.float32)}
    for each in (model, optimize(model)):
        assert open_session(each).run(feeds)["y"].shape == (12, 0)


KEPT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[N,M,4] x) => (float[K,L] y)
<int64[1] one = {1}, int64[1] zero = {0}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}>
{
    part = Slice(x, one, three, zero, two)
    sizes = Shape(part)
    k = Slice(sizes, zero, one)
    m = Slice(sizes, one, two)
    more = Mul(m, four)
    target = Concat<axis: int = 0>(k, more)
    y = Reshape(part, target)
}
"""


def test_no_minus_one_beside_a_size_that_may_be_0():
    model = onnx.parser.parse_model(KEPT)
    optimized = optimize(model)
    for size in (1, 2, 3):
        feeds = {"x": np.ones((size, 5, 4), np.float32)}
        for each in (model, optimized):
            assert open_session(each).run(feeds)["y"].shape == (size // 2, 20)


def test_a_size_that_an_input_names_is_1_or_more():
    model = onnx.parser.parse_model(KEPT.replace("Slice(x, one, three, zero, two)", "Relu(x)"))
    assert [node.op_type for node in optimize(model).graph.node] == ["Relu", "Reshape"]


COPIED = """<ir_version: 10, opset_import: ["" : 18]>
g (float[3,M] x) => (float[K,L] y)
<int64[1] one = {1}, int64[1] two = {2}, int64[1] many = {100}, int64[1] rest = {-1}>
{
    part = Slice(x, one, many, one)
    sizes = Shape(part)
    k = Slice(sizes, one, two)
    target = Concat<axis: int = 0>(k, rest)
    y = Reshape(part, target)
}
"""


def test_a_size_that_may_be_0_is_in_a_target_what_the_input_has_there():
    model = onnx.parser.parse_model(COPIED)
    optimized = optimize(model)
    for size, shape in ((1, (3, 0)), (2, (1, 3)), (4, (3, 3))):
        feeds = {"x": np.ones((3, size), np.float32)}
        for each in (model, optimized):
            assert open_session(each).run(feeds)["y"].shape == shape
