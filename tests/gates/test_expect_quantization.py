"""`expect_quantization`: the loss of each tool, the layer that loses, and what would pass without a measurement."""

import functools
import shutil
from importlib.util import find_spec

import onnx
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict, check_export, runtimes
from pytest_modelcheck.accuracy import quantized as quantized_graphs
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates import MarkerError
from pytest_modelcheck.gates.quantization import GATE, parse
from pytest_modelcheck.quantization import Noise, loss
from tests.gate_checks import said


class Net(torch.nn.Module):
    """Two layers; an outlier in the second one's weights makes int8 per tensor coarse there."""

    def __init__(self, outlier: float = 0.0):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.second = torch.nn.Linear(16, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 8)
        with torch.no_grad():
            self.second.weight[0, 0] += outlier

    def forward(self, x):
        return {"y": self.second(torch.nn.functional.gelu(self.norm(self.first(x))))}


class Bare(torch.nn.Module):
    def forward(self, x):
        return {"y": torch.relu(x)}


def inputs(seed):
    return {"x": torch.randn(3, 16, generator=torch.Generator().manual_seed(seed))}


def quantized(build=Net, draw=inputs, **expected):
    case = ModelCase("net", build, draw, exporter="torchscript", output_names=("y",))
    gates = {"expect_quantization": {"seeds": 4, "calibration": 4, **expected}}
    return check_export(case, gates=gates).results[0]


without_nncf = pytest.mark.skipif(
    find_spec("nncf") is None, reason="nncf is not installed: pip install 'pytest-modelcheck[nncf]'"
)


@pytest.mark.parametrize(
    ("by", "least", "most", "size"),
    [
        ("dynamic", 25, 50, "<=90%"),
        ("static", 20, 45, "<=250%"),
        ("float16", 55, 80, "<=90%"),
        pytest.param("nncf", 20, 45, "<=110%", marks=without_nncf),
    ],
)
def test_each_tool_passes_by_what_it_keeps_and_fails_beyond(by, least, most, size):
    result = quantized(by=by, sqnr=f">={least}dB", size=size, top1=">=50%")
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.startswith(f"{by}: SQNR ")
    assert "operators with weights not in float32, top-1 " in result.measured
    figures = result.figures[f"quantization {by}"]
    assert least <= figures["sqnr_db"]["y"] < most
    text = said(quantized(by=by, sqnr=f">={most}dB"))
    assert f"expect_quantization: output 'y' expected an SQNR >={most}dB, found " in text
    assert "Leave the modules that lose most in float, quantize per channel, calibrate on more inputs" in text


def test_the_layer_that_loses_most_is_named_first():
    result = quantized(functools.partial(Net, outlier=60.0), by="static", sqnr=">=25dB")
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].where[0].startswith("Gemm '/second/Gemm' in second: "), said(result)
    assert result.findings[0].where[0].endswith(" dB")


class Rectified(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(16, 32), torch.nn.Linear(32, 8)

    def forward(self, x):
        return {"y": self.second(torch.relu(self.first(x)))}


def test_a_relu_that_the_quantizer_leaves_out_lost_nothing():
    """Its range is clipped by the quantization, and the value of its name is the one before it."""
    result = quantized(Rectified, by="static", worst=">=70dB")
    lines = [line for line in result.findings[0].where if line.startswith("Relu")]
    assert all(float(line.split(" -> ")[1].removesuffix(" dB")) > 25 for line in lines), said(result)
    assert quantized(Rectified, by="static", worst=">=25dB").verdict is Verdict.PASS


@pytest.mark.parametrize("given", [{}, {"session.x64quantprecision": "0"}])
def test_products_of_int8_are_exact_on_every_processor_unless_the_case_says_more(monkeypatch, given):
    """Without, a processor that has AVX2 and no VNNI finds 19.4 dB in the outputs and 36.9 dB in the values inside."""
    opened = []

    def open_session(path, how, **named):
        opened.append(dict(how.config))
        return runtimes.open_session(path, how, **named)

    for module in (loss, quantized_graphs):
        monkeypatch.setattr(module, "open_session", open_session)
    gates = {"expect_quantization": {"by": "static", "sqnr": ">=0dB" if given else ">=25dB"}}
    case = ModelCase("net", Rectified, inputs, exporter="torchscript", session_options=given)
    result = check_export(case, gates=gates).results[0]
    assert result.verdict is Verdict.PASS, said(result)
    assert opened == [given, {"session.x64quantprecision": "1"} | given]


class Residual(Net):
    def forward(self, x):
        hidden = torch.relu(self.first(x))
        return {"y": torch.addmm(hidden, x, self.first.weight.T)}


@without_nncf
def test_nncf_takes_a_gemm_whose_addend_is_computed():
    result = quantized(Residual, by="nncf", sqnr=">=20dB", in_float="<=0")
    assert result.verdict is Verdict.PASS, said(result)


def test_a_tool_that_is_not_installed_is_an_error_with_the_one_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = quantized(by="nncf", sqnr=">=20dB")
    assert result.verdict is Verdict.ERROR
    assert "nncf is not installed: pip install 'pytest-modelcheck[nncf]'" in said(result)


def test_a_value_inside_may_lose_more_than_the_outputs():
    result = quantized(by="static", worst=">=60dB")
    assert result.verdict is Verdict.FAIL
    assert "values inside expected an SQNR >=60dB in each, found " in said(result)
    assert quantized(by="static", worst=">=10dB").verdict is Verdict.PASS


def test_size_and_what_stays_in_float_are_bounds_of_their_own():
    text = said(quantized(by="dynamic", size="<=1%", in_float="<=0"))
    assert "bytes expected <=1%, found " in text
    assert "operators in float32" not in text
    text = said(quantized(by=f"{__name__}:unchanged_but_scaled", in_float="<=0"))
    assert "operators in float32 expected <=0, found 2 (MatMul 2)" in text or "(Gemm 2)" in text


def unchanged_but_scaled(source, target, feeds):
    model = onnx.load(source)
    array = onnx.numpy_helper.to_array(model.graph.initializer[0]) * 1.01
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(array, model.graph.initializer[0].name))
    onnx.save(model, target)


def renamed_inside(source, target, feeds):
    unchanged_but_scaled(source, target, feeds)
    model = onnx.load(target)
    kept = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if not name or name in kept else f"{name}_other" for name in names]
    del model.graph.value_info[:]
    onnx.save(model, target)


def test_values_that_the_tool_renamed_are_not_judged_as_right():
    result = quantized(by=f"{__name__}:renamed_inside", worst=">=10dB")
    assert result.verdict is Verdict.ERROR
    assert "no value inside that both graphs know by one name" in said(result)


def copied(source, target, feeds):
    shutil.copy(source, target)


def written_nowhere(source, target, feeds):
    pass


def broken(source, target, feeds):
    raise RuntimeError("no such operator")


@pytest.mark.parametrize(
    ("by", "found"),
    [
        ("copied", "nothing was quantized: equal outputs, every operator as before"),
        ("written_nowhere", "ValueError: it wrote no file"),
        ("broken", "RuntimeError: no such operator"),
    ],
)
def test_a_tool_that_did_nothing_is_an_error(by, found):
    result = quantized(by=f"{__name__}:{by}", sqnr=">=10dB")
    assert result.verdict is Verdict.ERROR
    assert found in said(result)


def test_a_graph_without_weights_is_an_error():
    result = quantized(Bare, by="dynamic", sqnr=">=10dB")
    assert result.verdict is Verdict.ERROR
    assert "nothing was quantized" in said(result)


def test_outputs_without_a_signal_are_an_error():
    result = quantized(draw=lambda seed: {"x": inputs(seed)["x"] * 0}, build=Silent, by="float16", sqnr=">=10dB")
    assert result.verdict is Verdict.ERROR
    assert "no float output that is not all zero" in said(result)


class Silent(Net):
    def forward(self, x):
        return {"y": super().forward(x)["y"] * 0}


def test_a_file_that_is_quantized_already_is_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = ModelCase("net", Net, inputs, exporter="torchscript", output_names=("y",))
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.quantization import quantizer_named

    check = ModelCheck(case)
    quantizer_named("dynamic")(check.graphs.optimized_path, tmp_path / "shipped.onnx", [])
    result = quantized(by="shipped.onnx", sqnr=">=25dB")
    assert result.verdict is Verdict.PASS, said(result)
    onnx.save(onnx.parser.parse_model(OTHER), tmp_path / "other.onnx")
    assert "outputs 'y' are gone: it is another model" in said(quantized(by="other.onnx", sqnr=">=25dB"))


OTHER = '<ir_version: 8, opset_import: ["" : 17]>\ng (float[3,16] x) => (float[3,16] z) { z = Relu(x) }'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "static"}, "it asks for nothing: give sqnr, worst, top1, size or in_float a bound"),
        ({"by": "static", "sqnr": ">=30%"}, "sqnr='>=30%' must be in decibels: sqnr='>=30dB'"),
        ({"by": "static", "sqnr": 30, "size": "<=3"}, "size='<=3' must be in percent: size='<=30%'"),
        ({"by": "static", "sqnr": 30, "seeds": 0}, "seeds=0 must be a positive whole number"),
        ({"by": "", "sqnr": 30}, "by='' must be a name"),
    ],
)
def test_a_marker_that_asks_for_nothing_is_refused(arguments, message):
    with pytest.raises(MarkerError) as error:
        parse(**arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("bound", [{"top1": ">=101%"}, {"in_float": ">=0"}, {"size": ">=0%"}])
def test_bounds_that_never_or_always_hold_are_refused(bound):
    with pytest.raises(BoundError):
        parse("static", **bound)


@pytest.mark.parametrize(
    ("by", "message"),
    [
        (
            "statik",
            "unknown quantizer 'statik' (did you mean 'static'?); known: dynamic, static, float16, nncf, ",
        ),
        ("nowhere:function", "quantizer 'nowhere:function' cannot be imported: No module named 'nowhere'"),
        (f"{__name__}:OTHER", "is a str, not a function"),
        ("missing.onnx", "there is no file "),
    ],
)
def test_an_unknown_tool_is_refused_before_anything_is_exported(by, message):
    with pytest.raises(MarkerError, match="") as error:
        GATE.validate(parse(by, ">=30dB"), ())
    assert message in str(error.value)


def test_masked_values_are_left_out_and_broken_ones_are_infinite_noise():
    import numpy as np

    noise = Noise()
    noise.see(np.float32([1, -np.inf]), np.float32([1.1, 0]))
    assert noise.decibels == pytest.approx(20, abs=0.01)
    noise.see(np.float32([1.0]), np.float32([np.nan]))
    assert noise.decibels == -float("inf")
    assert np.isnan(Noise().decibels)
