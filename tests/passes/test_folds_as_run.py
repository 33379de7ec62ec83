"""A fold gives what onnxruntime, alone and with its optimizer off, would have computed."""

import tracemalloc

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes.fold_constants import FoldConstants
from pytest_modelcheck.pipeline import optimize, run_pass
from pytest_modelcheck.shapes import evaluate
from tests.passes.fusing_checks import make, outputs

HEADER = '<ir_version: 10, opset_import: ["" : 20]> g (float[4] x)'
SIGNED = np.array([[1, -2, -3, -4]], np.float32)


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("n = LpNormalization <axis = 1, p = 1> (c) y = Mul (x, n)", {"c": SIGNED}),
        ("n = LpNormalization <axis = 1, p = 2> (c) y = Mul (x, n)", {"c": SIGNED}),
        ("n = GatherElements <axis = 1> (c, i) y = Add (x, n)", {"c": SIGNED, "i": np.array([[3, 0, 0, 2]])}),
        ("n = GatherElements <axis = 1> (c, i) y = Add (x, n)", {"c": SIGNED, "i": np.array([[1], [1]])[:1]}),
        ("h = Cast <to = 10> (c) t = Cast <to = 8> (h) n = Cast <to = 1> (t) y = Add (x, n)", {"c": SIGNED * 16379}),
        ("i = Cast <to = 7> (c) n = Cast <to = 1> (i) y = Add (x, n)", {"c": SIGNED * np.float32(1e19)}),
        ("m = Max (c, d) y = Add (x, m)", {"c": SIGNED, "d": np.array([np.nan, 1, np.nan, 0], np.float32)}),
        (
            "r = Sqrt (c) h = Cast <to = 11> (r) n = Cast <to = 1> (h) y = Add (x, n)",
            {"c": np.float32([[2, 3, 7, -1]])},
        ),
        ("t = Transpose (c) u = Transpose <perm = [1, 0]> (t) y = Mul (x, u)", {"c": SIGNED}),
        ("q = Div (a, b) n = Cast <to = 1> (q) y = Add (x, n)", {"a": np.array([-7, 7, -8, 8]), "b": np.array(3)}),
    ],
)
def test_a_fold_is_what_running_gives(body: str, constants: dict[str, np.ndarray]) -> None:
    model = make(
        f"{HEADER} => (float[a,b] y) {{ {body} }}".replace("[a,b]", "[a]" if "Div" in body else "[a,b]"), **constants
    )
    after, record = run_pass(ir.from_proto(model), FoldConstants())
    given = {"x": np.array([1, 2, 3, 4], np.float32)}

    assert sum(op_counts(after).values()) == 1, record.refusals
    np.testing.assert_array_equal(outputs(ir.to_proto(after), given)["y"], outputs(model, given)["y"])


def test_without_onnxruntime_the_reference_implementation_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    model = make(f"{HEADER} => (float[a] y) {{ e = Exp (c) y = Add (x, e) }}", c=np.zeros(4, np.float32))
    assert op_counts(run_pass(ir.from_proto(model), FoldConstants())[0]) == {"Add": 1}
    weights = {"c": SIGNED}
    norm = make(f"{HEADER} => (float[a,b] y) {{ n = LpNormalization <axis = 1> (c) y = Mul (x, n) }}", **weights)
    _, record = run_pass(ir.from_proto(norm), FoldConstants())
    assert [refused.reason for refused in record.refusals] == ["onnxruntime is not installed"]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(4), "the evaluation gives DOUBLE where the model says FLOAT"),
        (np.zeros(3, np.float32), "the evaluation gives another shape than the model says"),
        (np.zeros((4, 1), np.float32), "the evaluation gives another shape than the model says"),
    ],
)
def test_what_does_not_have_the_declared_type_is_not_folded(
    array: np.ndarray, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_results", lambda *_: [array])
    model = make(f"{HEADER} => (float[a] y) {{ e = Exp (c) y = Add (x, e) }}", c=np.zeros(4, np.float32))
    _, record = run_pass(ir.from_proto(model), FoldConstants())
    assert [refused.reason for refused in record.refusals] == [reason]


def test_a_dropout_that_trains_is_not_folded() -> None:
    constants = {"c": np.ones(4, np.float32), "r": np.float32(0.5), "t": np.array(True)}
    model = make(f"{HEADER} => (float[a] y) {{ d = Dropout (c, r, t) y = Add (x, d) }}", **constants)
    _, record = run_pass(ir.from_proto(model), FoldConstants())
    assert [refused.reason for refused in record.refusals] == ["its result is random"]


QUANTIZED = """<ir_version: 10, opset_import: ["" : 13]> g (float[1,2,4,4] x) => (float[1,2,4,4] y) {
    q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) e = DequantizeLinear (q, s, z)
    v = DequantizeLinear <axis = 0> (w, ws, wz) b = DequantizeLinear <axis = 0> (bias, ws, bz)
    c = Conv (d, v, b) r = QuantizeLinear (c, s, z) f = DequantizeLinear (r, s, z) y = Add (f, e)
}"""
QUANTITIES = {
    "s": np.float32(0.05),
    "z": np.uint8(128),
    "w": np.array([3, -4, 5, 60], np.int8).reshape(2, 2, 1, 1),
    "ws": np.array([0.01, 0.02], np.float32),
    "wz": np.zeros(2, np.int8),
    "bias": np.array([100, -100], np.int32),
    "bz": np.zeros(2, np.int32),
}


def test_a_quantized_model_stays_quantized() -> None:
    model = make(QUANTIZED, **QUANTITIES)
    after = optimize(model)

    assert op_counts(ir.from_proto(after)) == op_counts(ir.from_proto(model))
    assert after.ByteSize() <= 1.02 * model.ByteSize() + 200
    reasons = {refused.reason for refused in run_pass(ir.from_proto(model), FoldConstants())[1].refusals}
    assert reasons == {"the model is quantized: runtimes read the pair from the file"}


def test_a_quantized_model_is_folded_where_that_is_asked_for() -> None:
    counts = op_counts(run_pass(ir.from_proto(make(QUANTIZED, **QUANTITIES)), FoldConstants(quantized=True))[0])

    assert counts == {"Add": 1, "Conv": 1, "DequantizeLinear": 3, "QuantizeLinear": 2}


def chain(length: int) -> onnx.ModelProto:
    """1 MB of ones that is halved `length` times: too large for the file at each step."""
    halved = [f"v{step + 1} = Mul (v{step}, half)" for step in range(length)]
    body = "\n".join(["v0 = Expand (half, size)", *halved, f"y = Add (v{length}, x)"])
    text = f'<ir_version: 10, opset_import: ["" : 20]> g (float[1] x) => (float[n] y) {{ {body} }}'
    return make(text, half=np.array([0.5], np.float32), size=np.array([2**18]))


def test_a_chain_that_is_not_folded_keeps_one_intermediate(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    monkeypatch.setattr(
        "pytest_modelcheck.passes.fold_constants.evaluate",
        lambda node, inputs, opset: computed.append(node.op_type) or evaluate.evaluate(node, inputs, opset),  # type: ignore[func-returns-value]
    )
    tracemalloc.start()
    _, record = run_pass(ir.from_proto(chain(20)), FoldConstants())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert not record.changed
    assert {refused.reason for refused in record.refusals} == {"folding would exceed the size budget"}
    assert len(computed) == 21  # once each
    assert peak < 8 * 2**20


def test_what_was_dropped_on_the_way_is_computed_again_where_it_is_folded() -> None:
    model = chain(4)
    total = onnx.helper.make_node("ReduceSum", ["v4"], ["t"], keepdims=0)
    model.graph.node.insert(5, total)
    model.graph.node[-1].input[0] = "t"
    after, _ = run_pass(ir.from_proto(model), FoldConstants())

    assert op_counts(after) == {"Add": 1}
    given = {"x": np.ones(1, np.float32)}
    np.testing.assert_allclose(outputs(ir.to_proto(after), given)["y"], outputs(model, given)["y"])
