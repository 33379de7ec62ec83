"""expect_accuracy by output: metrics, padded positions, the preset of quantized graphs, names that do not exist."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy import Tolerances, rounds_to_integers
from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import MarkerError, registered_gates
from tests.gate_checks import ask, said


class Tagger(torch.nn.Module):
    """Its export changes the values at padded positions."""

    def __init__(self, off_at_padding=0.0, off=0.0):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(20, 8), torch.nn.Linear(8, 3)
        self.off_at_padding, self.off = off_at_padding, off

    def forward(self, input_ids, attention_mask):
        scores = self.head(self.words(input_ids))
        if torch.onnx.is_in_onnx_export():
            assert self.off is not None, "this one is not to be exported"
            scores = scores + self.off + self.off_at_padding * (1 - attention_mask[..., None].float())
        return {"scores": scores}


def inputs(seed):
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:] = 0
    ids = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": mask}


def check_of(**off):
    return ModelCheck(ModelCase("tagger", lambda: Tagger(**off), inputs, exporter="torchscript"))


def test_a_difference_at_padded_positions_alone_accuses_nobody_and_names_the_way_out():
    result = ask(check_of(off_at_padding=1.0), "expect_accuracy", seeds=3)
    (finding,) = result.findings
    assert finding.where[-1] == (
        "equal at every position that input 'attention_mask' keeps: only padded positions differ"
    )
    assert "expect_accuracy(valid='attention_mask')" in finding.next
    assert "exporter" not in finding.next


def test_valid_leaves_padded_positions_out_and_sees_the_others():
    assert ask(check_of(off_at_padding=1.0), "expect_accuracy", seeds=3, valid="attention_mask").verdict is Verdict.PASS
    result = ask(check_of(off=1e-3), "expect_accuracy", seeds=3, valid="attention_mask")
    assert "The exporter changed the numbers" in said(result)


def test_a_metric_is_asked_in_place_of_the_tolerance():
    check = check_of(off=0.01)
    assert ask(check, "expect_accuracy", seeds=2).verdict is Verdict.FAIL
    assert ask(check, "expect_accuracy", seeds=2, metric={"scores": "cosine >= 0.99"}).verdict is Verdict.PASS
    result = ask(check, "expect_accuracy", seeds=2, metric={"scores": "match >= 50 %"})
    assert result.findings[0].expected == "float32[2, 6, 3] with match >= 50 %"
    assert result.findings[0].found == "over tolerance: match 0 %, expected >= 50 %"


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ({"atol": {"score": 1e-3}}, "atol expected the name of an output: 'scores', found 'score' in tagger"),
        ({"metric": {"boxes": "cosine >= 0.9"}}, "metric expected the name of an output: 'scores', found 'boxes'"),
        ({"valid": "mask"}, "valid expected the name of an input: 'input_ids', 'attention_mask', found 'mask'"),
    ],
)
def test_a_name_that_the_model_does_not_have_is_said_before_any_export(marker, message):
    result = ask(check_of(off=None), "expect_accuracy", seeds=1, **marker)
    assert result.verdict is Verdict.ERROR
    assert message in said(result)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ({"metric": "cosine"}, "metric='cosine' must be a dict from output name to a metric"),
        (
            {"metric": {"y": "iou >= 1"}},
            "expect_accuracy: metric 'iou' is unknown; choose one of cosine, top1,",
        ),
        ({"valid": 1}, "valid=1 must be the name of an input"),
    ],
)
def test_a_metric_that_cannot_be_used_is_a_usage_error(marker, message):
    with pytest.raises(MarkerError) as caught:
        registered_gates()["expect_accuracy"].expectation((), marker)
    assert message in str(caught.value)


def quantized(folder, name="int8.onnx"):
    """A float model, quantized to QDQ by onnxruntime's own tool, per channel."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    generator = np.random.default_rng(0)
    weights = [generator.standard_normal(shape).astype(np.float32) for shape in ((16, 32), (32, 8))]
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[4,16] x) => (float[4,8] y) { h = MatMul (x, w)  r = Relu (h)  y = MatMul (r, v) }"""
    )
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for array, name in zip(weights, "wv", strict=True)
    )
    onnx.save(model, folder / "float.onnx")

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.left = iter([{"x": generator.standard_normal((4, 16)).astype(np.float32)} for _ in range(4)])

        def get_next(self):
            return next(self.left, None)

    quantize_static(folder / "float.onnx", folder / name, Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
    return folder / name


def test_a_file_that_onnxruntime_quantized_is_held_to_the_tolerance_of_quantized_graphs(tmp_path):
    check = ModelCheck(ModelCase.from_onnx(quantized(tmp_path)))
    result = ask(check, "expect_accuracy", seeds=2)
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.endswith(
        "; int8-quantized: rtol 0.1 except for passes, because the graph quantizes activations"
    )
    strict = ask(check, "expect_accuracy", seeds=2, rtol=1e-5)
    assert "int8-quantized" not in strict.measured


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (1.01, Verdict.FAIL)])
def test_a_pass_that_changes_a_quantized_graph_by_a_hundredth_is_found(tmp_path, factor, verdict):
    def scaled(model):
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        last = next(node for node in copy.graph.node if "y" in node.output)
        last.output[0] = "inner"
        copy.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "factor"))
        copy.graph.node.append(onnx.helper.make_node("Mul", ["inner", "factor"], ["y"]))
        return copy

    result = ask(ModelCheck(ModelCase.from_onnx(quantized(tmp_path)), passes=[scaled]), "expect_accuracy", seeds=2)
    assert result.verdict is verdict, said(result)
    assert ("A pass changed the numbers" in said(result)) == (verdict is Verdict.FAIL)


def test_the_tolerance_of_quantized_graphs_is_a_tenth_of_the_magnitude_however_small_that_is():
    quantized = Tolerances(quantized=True)
    small = np.linspace(-0.01, 0.01, 12, dtype=np.float32)
    for reference in (small, small * 1000):
        step = 0.002 * np.abs(reference).max()
        assert compare_within({"y": reference}, {"y": reference + step}, quantized).passed
        assert not compare_within({"y": reference}, {"y": reference + step}, Tolerances()).passed
        assert not compare_within({"y": reference}, {"y": reference + 60 * step}, quantized).passed


@pytest.mark.parametrize(
    ("nodes", "rounds"),
    [
        ("q = QuantizeLinear (x, s, z)  y = DequantizeLinear (q, s, z)", True),
        ("q = QuantizeLinear (c, s, z)  d = DequantizeLinear (q, s, z)  y = Mul (x, d)", False),
        ("d = DequantizeLinear (i, s, z)  y = Mul (x, d)", False),
    ],
)
def test_stored_weights_round_nothing_activations_do(nodes, rounds):
    text = f"""<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] y)
    <float s = {{0.1}}, uint8 z = {{3}}, float[4] c = {{1, 2, 3, 4}}, uint8[4] i = {{1, 2, 3, 4}}> {{ {nodes} }}"""
    assert rounds_to_integers(ir.from_onnx_text(text)) is rounds


def test_inputs_that_were_invented_and_do_not_fit_are_said_with_the_way_to_give_others(tmp_path):
    rows = """<ir_version: 8, opset_import: ["" : 17]> g (float[batch,samples] x) => (float[n,64] y)
    <int64[2] shape = {-1, 64}> { y = Reshape (x, shape) }"""
    onnx.save(onnx.parser.parse_model(rows), tmp_path / "padded.onnx")
    result = ask(ModelCheck(ModelCase.from_onnx(tmp_path / "padded.onnx")), "expect_accuracy", seeds=2)
    assert result.verdict is Verdict.ERROR
    text = said(result)
    assert "inputs invented from the file's signature: x float32[2, 8]" in text
    assert "next:  Give the inputs that the model takes: ModelCase.from_onnx(path, inputs), inputs(seed) -> " in text

    def fitting(seed):
        return {"x": np.random.default_rng(seed).standard_normal((2, 64)).astype(np.float32)}

    given = ModelCheck(ModelCase.from_onnx(tmp_path / "padded.onnx", fitting))
    assert "invented" not in said(ask(given, "expect_accuracy", seeds=2, varied=False))
