"""LiteRT behind onnx2tf: sizes, layout, state and missing operators as the graph has them.

Its environment is made by ``make runtimes``; where it is not there, these tests are skipped.
"""

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates.runtime import GATE, parse
from pytest_modelcheck.runtimes import How, SessionError, open_session, runtime_named

pytestmark = pytest.mark.skipif(
    not runtime_named("litert").installed, reason=f"litert is not installed: {runtime_named('litert').install}"
)


def run(text, feeds):
    shapes = tuple((name, value.shape) for name, value in feeds.items())
    return open_session(ir.from_onnx_text(text), How(runtime="litert", shapes=shapes), name="net").run(feeds)


def test_images_keep_the_order_of_their_axes():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[N,4,4,4] x) => (float[N,4,4,4] y) <float[4,4,1,1] w = {1,0,0,0, 0,2,0,0, 0,0,3,0, 0,0,0,4}> {
     y = Conv(x, w)
    }"""
    image = np.arange(2 * 64, dtype=np.float32).reshape(2, 4, 4, 4)
    scale = np.array([1, 2, 3, 4], np.float32)[None, :, None, None]
    assert np.array_equal(run(text, {"x": image})["y"], image * scale)


def test_an_axis_that_a_size_follows_from_is_fixed_with_it():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[N,M] x) => (float[K] y) <int64[1] all = {-1}> { y = Reshape(x, all) }"""
    assert run(text, {"x": np.ones((3, 5), np.float32)})["y"].shape == (15,)


def test_an_operator_that_the_converter_lacks_is_named_as_the_graph_names_it():
    text = """<ir_version: 8, opset_import: ["" : 18, "my.domain" : 1]>
    g (float[2] x) => (float[2] y) { y = my.domain.Upscale(x) }"""
    with pytest.raises(
        SessionError, match="net: LiteRT cannot load the model: onnx2tf does not convert UPSCALE"
    ) as caught:
        run(text, {"x": np.zeros(2, np.float32)})
    assert caught.value.operators == ("Upscale",)


@pytest.mark.parametrize("kind", ["double", "string", "float16"])
def test_a_type_that_it_does_not_take_is_refused_before_the_conversion(kind):
    text = f'<ir_version: 8, opset_import: ["" : 18]> g ({kind}[2] x) => ({kind}[2] y) {{ y = Identity(x) }}'
    with pytest.raises(SessionError, match=rf"net: LiteRT takes and gives no tensor\({kind}\) \('x'\)"):
        open_session(ir.from_onnx_text(text), How(runtime="litert"), name="net")


class Recurrent(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LSTM(6, 8, bidirectional=True)

    def forward(self, frames):
        return self.layer(frames)[0]


def draw(seed):
    return {"frames": torch.randn(5, 2, 6, generator=torch.Generator().manual_seed(seed))}


def test_each_inference_of_a_recurrent_model_begins_without_the_state_of_the_last():
    result = GATE.check(ModelCheck(ModelCase("net", Recurrent, draw)), parse("litert", seeds=3, atol=1e-5))
    assert result.findings == ()
    assert "torch -> exported in LiteRT" in result.measured


class Scaled(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x) * 2


def test_sizes_are_those_of_the_first_seed_and_only_values_vary():
    case = ModelCase("net", Scaled, lambda seed: {"x": draw(seed)["frames"]}, dynamic_axes={"x": {0: "n"}})
    result = GATE.check(ModelCheck(case), parse("litert", seeds=4, stage="exported"))
    assert result.findings == ()
    assert "5 of them varied" in result.measured


def test_a_difference_names_the_runtime():
    class Noisy(torch.nn.Module):
        def forward(self, x):
            return torch.relu(x) * (2.0 if torch.onnx.is_in_onnx_export() else 2.1)

    case = ModelCase("net", Noisy, lambda seed: {"x": draw(seed)["frames"]}, exporter="torchscript")
    result = GATE.check(ModelCheck(case), parse("litert", seeds=1, stage="exported"))
    (finding,) = result.findings
    assert "exported in LiteRT" in f"{finding.subject} {finding.context}"
    assert any("agrees with exported in LiteRT" in line for line in finding.where), finding.where
