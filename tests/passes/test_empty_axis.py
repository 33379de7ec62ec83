"""A Reshape of a tensor without elements keeps its target: onnxruntime computes no -1 beside a size of 0."""

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
