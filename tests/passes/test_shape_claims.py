"""What a file says about its intermediate values is a claim: it counts only where nothing refutes it."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.pipeline import optimize, prepare
from tests.passes.fusing_checks import make, outputs, worst_difference

ROWS = """<ir_version: 10, opset_import: ["" : 17]> g (float[N,3,4,4] x) => (float[N,5] y) {
    c = Conv (x, w) r = Relu (c) s = Shape (r) b = Gather (s, zero) u = Unsqueeze (b, axis)
    t = Concat <axis = 0> (u, rest) f = Reshape (r, t) m = MatMul (f, p) y = Add (m, q)
}"""
WEIGHTS = {
    "w": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3, 1, 1),
    "zero": np.array(0),
    "axis": np.array([0]),
    "rest": np.array([-1]),
    "p": np.linspace(-1, 1, 160, dtype=np.float32).reshape(32, 5),
    "q": np.ones(5, np.float32),
}


def claiming(model: onnx.ModelProto, **shapes: list[int | str | None]) -> onnx.ModelProto:
    """`model` with these shapes of float32 values written into it."""
    for name, shape in shapes.items():
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(name, 1, shape))
    return model


def shapes_of(model: onnx.ModelProto) -> dict[str, str]:
    prepared = prepare(ir.from_proto(model))
    return {str(value.name): str(value.shape) for node in prepared.graph for value in node.outputs}


def test_a_batch_of_1_that_was_made_dynamic_afterwards_is_dynamic_everywhere() -> None:
    model = claiming(make(ROWS, **WEIGHTS), c=[1, 2, 4, 4], r=[1, 2, 4, 4], f=[1, 32])
    shapes = shapes_of(model)

    assert (shapes["c"], shapes["r"]) == ("[N,2,4,4]", "[N,2,4,4]")
    assert worst_difference(model, optimize(model), size=4) <= 1e-5
    assert len(optimize(model).graph.node) == len(optimize(make(ROWS, **WEIGHTS)).graph.node)


@pytest.mark.parametrize("length", [2, "k"])
def test_a_claim_that_a_size_is_unknown_says_nothing(length: object) -> None:
    # Inference numbers the sizes that it does not know from 0: those of the file and ours have the same names.
    model = make(
        f"""<ir_version: 10, opset_import: ["" : 17]>
        g (float[4] x, int64[2] row, int64[{length}] column) => (float[a,b] y) {{
            p = Reshape (x, row) q = Reshape (x, column) s = Shape (p) e = Expand (q, s) y = Neg (e)
        }}"""
    )
    shapes = shapes_of(model)
    claimed = claiming(model, q=shapes["p"].strip("[]").split(","))
    feeds = {"x": np.arange(4, dtype=np.float32), "row": np.array([1, 4]), "column": np.array([4, 1])}

    np.testing.assert_array_equal(outputs(optimize(claimed), feeds)["y"], outputs(model, feeds)["y"])


OPEN = """<ir_version: 10, opset_import: ["" : 17]> g (float[N,4] x, int64[2] target) => (float[a,b] y) {
    r = Reshape (x, target) n = Neg (r) z = Relu (x) y = Abs (n)
}"""


@pytest.mark.parametrize(
    ("claims", "shape"),
    [
        ({"r": [2, 6]}, "[2,6]"),  # nothing else is known, and nothing refutes it
        ({"r": [2, 6], "z": ["N", 4]}, "[2,6]"),
        ({"r": [2, 6], "z": [3, 4]}, None),  # another size than N
        ({"r": [2, 6], "z": ["N", 5]}, None),  # another number
        ({"r": [2, 6], "z": ["N", 2, 2]}, None),  # another number of axes
    ],
)
def test_a_file_is_believed_about_a_gap_unless_one_of_its_claims_is_refuted(
    claims: dict[str, list[int | str | None]], shape: str | None
) -> None:
    shapes = shapes_of(claiming(make(OPEN), **claims))

    if shape is None:
        assert not {"2", "6"} & set(shapes["n"])
    else:
        assert shapes["n"] == shape  # inferred from the claim about what it reads


def test_a_size_that_is_computed_from_named_sizes_is_no_number() -> None:
    # Behind the second layer of an LSTM torch 2.13 writes down the frames of the example.
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]> g (float[batch,frames,6] x) => (float[a,b,c] y) {
            h = Transpose <perm = [1, 0, 2]> (x) s = Shape (h) k = Slice (s, zero, two, zero)
            t = Concat <axis = 0> (k, m) d = Reshape (h, t) u = Transpose <perm = [1, 0, 2]> (d) y = Relu (u)
        }""",
        zero=np.array([0]),
        two=np.array([2]),
        m=np.array([6]),
    )
    shapes = shapes_of(claiming(model, d=[0, 0, 0], u=["batch", 9, 6]))

    assert "9" not in shapes["u"]
    assert worst_difference(model, optimize(model), size=3) == 0.0


@pytest.mark.parametrize("name", ["half", "frames//2", "(frames - 1)//2 + 1"])
def test_a_size_that_the_file_names_is_no_number_behind_it(name: str) -> None:
    # As torch 2.13 writes two layers of a GRU behind convolutions: named frames before the first, 9 behind the second.
    model = make(
        """<ir_version: 10, opset_import: ["" : 17]> g (float[batch,frames,6] x, int64[3] k) => (float[a,b,c] y) {
            r = Reshape (x, k) h = Transpose <perm = [1, 0, 2]> (r)
            g, state = GRU <hidden_size = 3, direction = "bidirectional"> (h, w, v)
            n = Transpose <perm = [0, 2, 1, 3]> (g) s = Shape (n) t = Slice (s, zero, two, zero)
            l = Concat <axis = 0> (t, m) d = Reshape (n, l) e, last = GRU <hidden_size = 3> (d, w1, v1)
            f = Squeeze (e, one) u = Transpose <perm = [1, 0, 2]> (f) y = Relu (u)
        }""",
        w=np.ones((2, 9, 6), np.float32),
        v=np.ones((2, 9, 3), np.float32),
        w1=np.ones((1, 9, 6), np.float32),
        v1=np.ones((1, 9, 3), np.float32),
        **{"zero": np.array([0]), "one": np.array([1]), "two": np.array([2]), "m": np.array([6])},
    )
    claimed = claiming(model, r=["batch", name, 6], h=[name, "batch", 6], g=[name, 2, "batch", 3], u=["batch", 9, 3])

    assert "9" not in shapes_of(claimed)["u"]
    given = {"x": np.ones((2, 4, 6), np.float32), "k": np.array([2, 4, 6])}
    np.testing.assert_array_equal(outputs(optimize(claimed), given)["y"], outputs(model, given)["y"])


RECURRENT = """<ir_version: 10, opset_import: ["" : 17]> g (float[1,1,4,s0] x) => (float[a,b] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w) t = Transpose <perm = [0, 3, 1, 2]> (c) f = Reshape (t, three)
    h = Transpose <perm = [1, 0, 2]> (f) r = Relu (h) k = Transpose <perm = [1, 0, 2]> (r) s = Shape (k)
    n = Slice (s, one, more) d = Reshape (k, n) y = Relu (d)
}"""


@pytest.mark.parametrize(
    ("claims", "believed"),
    [
        ({"h": ["s0", 1, 4], "k": [1, 30, 4]}, False),  # one size, which inference leaves open: s0 here, 30 there
        ({"h": [20, 1, 4], "k": [1, 30, 4]}, False),
        ({"h": [30, 1, 4], "k": [1, 30, 4]}, True),
        ({"h": ["s0", 1, 4], "k": [1, "s0", 4]}, True),
        ({"h": ["unk__7", 1, 4], "k": [1, 30, 4]}, True),  # a name of nothing says nothing
    ],
)
def test_a_file_that_claims_two_sizes_of_one_value_is_not_believed(
    claims: dict[str, list[int | str | None]], believed: bool
) -> None:
    constants = {"three": np.array([1, -1, 4]), "one": np.array([1]), "more": np.array([3])}
    weights = np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3)
    model = claiming(make(RECURRENT, w=weights, **constants), **claims)
    assert (shapes_of(model)["k"] == f"[1,{claims['k'][1]},4]") is believed
    if "s0" in claims["h"]:
        assert worst_difference(model, optimize(model), size=5) == 0.0
