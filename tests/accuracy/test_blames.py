"""Situations, and exactly what is accused in each: a blame that no experiment has shown is worse than none."""

import math

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from tests.gate_checks import ask, said

BLAMES = {
    "exporter": "The exporter changed the numbers",
    "pass": "A pass changed the numbers",
    "runtime": "a bug of the runtime",
    "size": "A size of the example inputs is baked into the graph",
    "weights": "The exported file does not hold the module's weights",
    "random model": "the model itself draws random numbers",
    "random inputs": "other values for seed 0 on a second call",
    "one input": "only one input was measured",
    "rounding": "the model makes this much of any rounding",
    "padding": "only padded positions differ",
    "nan": "The reference itself is broken",
    "constant": "empty comparison",
    "custom operator": "If it is a custom one, name its library",
    "bfloat16": "computes little in bfloat16",
    "broken pass": "expected a valid graph, found ValueError: mine",
}


def drawn(*shape):
    return lambda seed: {"x": torch.randn(*shape, generator=torch.Generator().manual_seed(seed))}


class Net(nn.Module):
    """Two layers; `change(hidden)` is made between them, `exported(hidden)` in its place while it is exported."""

    def __init__(self, change=None, exported=None, last=True):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(16, 32), nn.Linear(32, 4) if last else nn.Identity()
        self.change = change or torch.relu
        self.exported = exported or self.change

    def forward(self, x):
        change = self.exported if torch.onnx.is_in_onnx_export() else self.change
        return {"y": self.last(change(self.first(x)))}


class Tagger(nn.Module):
    def __init__(self, kept=0.0, padded=0.0):
        super().__init__()
        self.words, self.kept, self.padded = nn.Embedding(20, 8), kept, padded

    def forward(self, ids, attention_mask):
        y = self.words(ids)
        if torch.onnx.is_in_onnx_export():
            y = y + self.padded * (1 - attention_mask[..., None]) + self.kept * attention_mask[..., None]
        return {"y": y}


def tagged(seed):
    mask = torch.ones(2, 6, dtype=torch.long)
    mask[1, 4:] = 0
    return {"ids": torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(seed)), "attention_mask": mask}


def halved(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    tensor = copy.graph.initializer[0]
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * 0.5, tensor.name))
    return copy


def without_relu(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    next(node for node in copy.graph.node if node.op_type == "Relu").op_type = "Abs"
    return copy


def raising(model):
    raise ValueError("mine")


def nan_weight():
    net = Net()
    nn.init.constant_(net.first.bias, math.nan)
    return net


def zero_head():
    net = Net()
    nn.init.zeros_(net.last.weight)
    nn.init.zeros_(net.last.bias)
    return net


def net(change=None, exported=None, **options):
    return lambda: Net(change, exported, **options)


def steep(hidden):
    return torch.sin(hidden * 3000)


GRAPH = '<ir_version: 8, opset_import: ["" : 17, "my.company" : 1]>\ng '
WHERE_PADDED = {"valid": "attention_mask"}
X = drawn(6, 16)
BATCH = {"dynamic_axes": {"x": {0: "batch"}}}

MODULES = {
    "faithful": (net(), X, {}, {}, set()),
    "faithful, any batch": (net(), X, BATCH, {}, set()),
    "tanh for relu": (net(torch.relu, torch.tanh), X, {}, {}, {"exporter"}),
    "gelu by tanh": (net(nn.GELU(), nn.GELU("tanh")), X, {}, {}, {"exporter"}),
    "off by a thousandth": (net(torch.relu, lambda h: torch.relu(h) * 1.001), X, {}, {}, {"exporter"}),
    "something added": (net(torch.relu, lambda h: torch.relu(h) + 1e-3), X, {}, {}, {"exporter"}),
    "softmax over the rows": (net(lambda h: h.softmax(-1), lambda h: h.softmax(0)), X, {}, {}, {"exporter"}),
    "misses a metric": (
        net(torch.relu, torch.neg),
        X,
        {},
        {"metric": {"y": "cosine >= 0.99"}},
        {"exporter"},
    ),
    "meets a metric": (
        net(torch.relu, lambda h: torch.relu(h) * 1.001),
        X,
        {},
        {"metric": {"y": "cosine >= 0.99"}},
        set(),
    ),
    "batch baked in": (net(lambda h: h / len(h.tolist())), X, BATCH, {}, {"size"}),
    "batch baked into a shape": (net(lambda h: h.reshape(len(h.tolist()), 32)), X, BATCH, {}, {"size"}),
    "batch baked in, not declared": (net(lambda h: h / len(h.tolist())), X, {}, {}, set()),
    "dropout left on": (net(lambda h: nn.functional.dropout(h, 0.5, training=True)), X, {}, {}, {"random model"}),
    "noise in the forward": (net(lambda h: h + torch.randn_like(h)), X, {}, {}, {"random model"}),
    "a steep sine": (net(steep, lambda h: steep(h * 3 / 3)), X, {}, {}, {"rounding"}),
    "a cast to half precision": (
        net(lambda h: h.half().float(), lambda h: (h * 3 / 3).half().float()),
        X,
        {},
        {},
        set(),
    ),
    "equal scores": (
        net(lambda h: h.sign().topk(3).indices.float(), last=False),
        drawn(6, 16),
        {},
        {"varied": False},
        {"rounding"},
    ),
    "a weight of NaN": (nan_weight, X, {}, {}, {"nan"}),
    "NaN by design": (net(torch.sqrt, last=False), X, {}, {"equal_nan": True, "varied": False}, set()),
    "a head of zeros": (zero_head, X, {}, {}, {"constant"}),
    # torch's generator is seeded for each call: such inputs of a module are as good as seeded ones
    "inputs that ignore their seed": (net(), lambda seed: {"x": torch.randn(6, 16)}, {}, {}, set()),
    "one input": (net(), lambda seed: {"x": torch.ones(6, 16)}, {}, {}, {"one input"}),
    "padding alone": (lambda: Tagger(padded=1.0), tagged, {}, {}, {"padding"}),
    "padding left out": (lambda: Tagger(padded=1.0), tagged, {}, WHERE_PADDED, set()),
    "beyond padding": (lambda: Tagger(kept=1.0, padded=1.0), tagged, {}, {}, {"exporter"}),
    "beyond padding left out": (lambda: Tagger(kept=1.0), tagged, {}, WHERE_PADDED, {"exporter"}),
    "a pass halves a weight": (net(), X, {"passes": [halved]}, {}, {"pass"}),
    "a pass takes Abs for Relu": (net(), X, {"passes": [without_relu]}, {}, {"pass"}),
    "a pass raises": (net(), X, {"passes": [raising]}, {}, {"broken pass"}),
}
"""Name -> module, inputs, options of the case (and passes), the marker, and what is accused."""

FILES = {
    "MaxPool over padding": (
        "(float[1,1,4,4] x) => (float[1,1,3,3] y) <int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, float zero = {0}> "
        '{ p = Pad <mode = "constant"> (x, pads, zero)  y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (p) }',
        {"runtime"},
    ),
    "a random node": (
        "(float[2,8] x) => (float[2,8] y) { r = RandomNormalLike (x)  y = Add (x, r) }",
        {"random model"},
    ),
    "a custom operator": ("(float[2,8] x) => (float[2,8] y) { y = my.company.Swirl (x) }", {"custom operator"}),
    "bfloat16": (
        "(float[2,8] x) => (float[2,8] y) { a = Cast <to = 16> (x)  b = Sin (a)  y = Cast <to = 1> (b) }",
        {"bfloat16"},
    ),
    "a quantized value": (
        "(float[2,8] x) => (float[2,8] y) <float s = {0.02}, uint8 z = {128}> "
        "{ q = QuantizeLinear (x, s, z)  d = DequantizeLinear (q, s, z)  y = Tanh (d) }",
        set(),
    ),
}


def blamed(result):
    text = said(result)
    return {blame for blame, words in BLAMES.items() if words in text}


@pytest.mark.parametrize("situation", MODULES)
def test_a_module_accuses_what_is_at_fault_and_nothing_else(situation):
    build, inputs, options, marker, accused = MODULES[situation]
    options = dict(options)
    passes = options.pop("passes", None)
    case = ModelCase("net", build, inputs, exporter="torchscript", **options)
    result = ask(ModelCheck(case, passes=passes), "expect_accuracy", **{"seeds": 3, **marker})
    assert blamed(result) == accused, said(result)


@pytest.mark.parametrize("situation", FILES)
def test_a_file_accuses_what_is_at_fault_and_nothing_else(situation, tmp_path):
    text, accused = FILES[situation]
    ir.save(ir.from_onnx_text(GRAPH + text), tmp_path / "m.onnx")
    result = ask(ModelCheck(ModelCase.from_onnx(tmp_path / "m.onnx")), "expect_accuracy", seeds=3)
    assert blamed(result) == accused, said(result)


def test_unseeded_inputs_of_a_file_accuse_nobody(tmp_path):
    ir.save(ir.from_onnx_text(GRAPH + "(float[2,8] x) => (float[2,8] y) { y = Tanh (x) }"), tmp_path / "m.onnx")
    case = ModelCase.from_onnx(tmp_path / "m.onnx", lambda seed: {"x": torch.randn(2, 8).numpy()})
    assert blamed(ask(ModelCheck(case), "expect_accuracy", seeds=3)) == {"random inputs"}
