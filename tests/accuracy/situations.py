"""Situations of an accuracy gate: a module or a file, what is done to it, and exactly what is to be accused."""

import math

import numpy as np
import onnx
import torch
from torch import nn


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


def scaled_output(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    last = next(node for node in copy.graph.node if "y" in node.output)
    last.output[0] = "before"
    copy.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(1.01), "factor"))
    copy.graph.node.append(onnx.helper.make_node("Mul", ["before", "factor"], ["y"]))
    return copy


def renamed_inside(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for number, node in enumerate(copy.graph.node):
        node.name = f"n{number}"
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


def in_one_place(factor):
    def change(hidden):
        hidden = torch.relu(hidden)
        place = nn.functional.one_hot(torch.tensor([9]), 32).to(hidden)
        return hidden * (1 + (factor - 1) * place)

    return change


def half():
    return Net().half()


def half_off():
    return Net(torch.relu, lambda h: torch.relu(h) * 1.1).half()


def normalized(epsilon):
    return lambda h: nn.functional.layer_norm(h, (32,), eps=epsilon)


def drawn_as(dtype):
    return lambda seed: {"x": drawn(6, 16)(seed)["x"].to(dtype)}


GRAPH = '<ir_version: 8, opset_import: ["" : 17, "my.company" : 1]>\ng '
WHERE_PADDED = {"valid": "attention_mask"}
X = drawn(6, 16)
BATCH = {"dynamic_axes": {"x": {0: "batch"}}}


def strided(h):
    """The first four columns of `h` as rows: as_strided reads the memory of `h` through a transposed view."""
    return h.t().as_strided((4, 4), (1, 32))


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
    "one column off by a fiftieth": (net(torch.relu, in_one_place(1.02)), X, {}, {}, {"exporter"}),
    "another epsilon": (net(normalized(1e-5), normalized(1e-2)), X, {}, {}, {"exporter"}),
    "cut off for large inputs alone": (net(torch.relu, lambda h: torch.relu(h).clamp(max=40)), X, {}, {}, {"exporter"}),
    "small numbers": (net(lambda h: h * 1e-6, last=False), X, {}, {}, set()),
    "small numbers off by a hundredth": (
        net(lambda h: h * 1e-6, lambda h: h * 1.01e-6, last=False),
        X,
        {},
        {},
        {"exporter"},
    ),
    "large numbers": (net(lambda h: h * 1e6, last=False), X, {}, {}, set()),
    "large numbers off by a thousandth": (
        net(lambda h: h * 1e6, lambda h: h * 1.001e6, last=False),
        X,
        {},
        {},
        {"exporter"},
    ),
    "infinities at the same places": (net(lambda h: torch.log(torch.relu(h)), last=False), X, {}, {}, set()),
    "infinities of the export": (net(torch.relu, lambda h: torch.relu(h) / 0.0, last=False), X, {}, {}, {"exporter"}),
    "largest taken for smallest": (
        net(lambda h: h.argmax(-1), lambda h: h.argmin(-1), last=False),
        X,
        {},
        {},
        {"exporter"},
    ),
    "an index": (net(lambda h: h.argmax(-1), last=False), X, {}, {}, set()),
    "a comparison turned around": (net(lambda h: h > 0, lambda h: h < 0, last=False), X, {}, {}, {"exporter"}),
    "half precision": (half, drawn_as(torch.float16), {}, {"varied": False}, set()),
    "half precision off by a tenth": (half_off, drawn_as(torch.float16), {}, {"varied": False}, {"exporter"}),
    "double precision": (lambda: Net().double(), drawn_as(torch.float64), {}, {}, set()),
    "double precision off by a millionth": (
        lambda: Net(torch.relu, lambda h: torch.relu(h) * 1.000001).double(),
        drawn_as(torch.float64),
        {},
        {},
        {"exporter"},
    ),
    "a size from the tensor": (net(lambda h: h / h.shape[0]), X, BATCH, {}, set()),
    "a difference of large numbers": (
        net(lambda h: (h * 1e2 + 1e4) - 1e4, lambda h: (h * 3e2 / 3 + 1e4) - 1e4, last=False),
        X,
        {},
        {"varied": False},
        set(),
    ),
    "a pass scales an output": (net(), X, {"passes": [scaled_output]}, {}, {"pass"}),
    "a pass renames nodes": (net(), X, {"passes": [renamed_inside]}, {}, set()),
    "exporter and pass": (
        net(torch.relu, torch.tanh),
        X,
        {"passes": [scaled_output]},
        {},
        {"exporter", "pass"},
    ),
    "a pass halves a weight": (net(), X, {"passes": [halved]}, {}, {"pass"}),
    "a pass takes Abs for Relu": (net(), X, {"passes": [without_relu]}, {}, {"pass"}),
    "as_strided of a transposed tensor": (net(strided, last=False), X, {}, {}, {"memory layout"}),
    "as_strided and a hundredth": (net(strided, lambda h: strided(h) * 1.01, last=False), X, {}, {}, {"exporter"}),
    "as_strided of a copy": (net(lambda h: h.as_strided((4, 4), (32, 1)), last=False), X, {}, {}, set()),
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
    "dropout in training mode": (
        "(float[2,8] x) => (float[2,8] y) <float r = {0.5}, bool t = {1}> { y, m = Dropout (x, r, t) }",
        {"random model"},
    ),
    "a drawn constant": (
        "(float[2,8] x) => (float[2,8] y) { r = RandomUniform <shape = [2, 8]> ()  y = Add (x, r) }",
        {"random model"},
    ),
    "dropout in inference mode": ("(float[2,8] x) => (float[2,8] y) { d = Dropout (x)  y = Tanh (d) }", set()),
    "a weight of NaN": (
        "(float[2,2] x) => (float[2,2] y) <float[2] w = {1, nan}> { y = Mul (x, w) }",
        {"nan"},
    ),
    "an output without input": (
        "(float[2,2] x) => (float[2,2] y) <float[2] z = {0, 0}> { y = Mul (x, z) }",
        {"constant"},
    ),
    "branches": (
        "(float[2] x) => (float[2] y) <float l = {0}> { s = ReduceSum <keepdims = 0> (x)  c = Greater (s, l) "
        "y = If (c) <then_branch = t () => (float[2] p) { p = Neg (x) }, else_branch = f () => (float[2] q) "
        "{ q = Exp (x) }> }",
        set(),
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
