"""Faults planted into an exported transformer: every one is caught, and where it lies is named."""

import math

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy import Tolerances, find_first_divergence, standard_stages, sweep
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import export

WIDTH, HEADS, LENGTH = 16, 2, 6


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, mask):
        def heads(y):
            return y.view(1, LENGTH, HEADS, WIDTH // HEADS).transpose(1, 2)

        scores = heads(self.query(x)) @ heads(self.key(x)).transpose(2, 3) / math.sqrt(WIDTH // HEADS) + mask
        mixed = (scores.softmax(-1) @ heads(self.value(x))).transpose(1, 2).reshape(1, LENGTH, WIDTH)
        x = self.norm(x + self.out(mixed))
        return x + self.down(torch.nn.functional.gelu(self.up(x)))


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = torch.nn.Embedding(50, WIDTH), torch.nn.Embedding(LENGTH, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(2))
        self.head = torch.nn.Linear(WIDTH, 5)

    def forward(self, ids, attention_mask):
        x = self.words(ids) + self.places(torch.arange(LENGTH))
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -10000.0
        for layer in self.layers:
            x = layer(x, mask)
        return {"hidden": x, "logits": self.head(x[:, 0])}


def inputs(seed):
    mask = torch.ones(1, LENGTH, dtype=torch.long)
    mask[0, 4:] = 0
    return {"ids": torch.randint(0, 50, (1, LENGTH)), "attention_mask": mask}


CASE = ModelCase("encoder", Encoder, inputs, exporter="torchscript", opset=17)


@pytest.fixture(scope="module")
def encoder():
    module = build_module(CASE)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():  # equal initial values would become one initializer
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return module, export(CASE, module=module)


def nodes(model, op, scope=""):
    return [node for node in model.graph if node.op_type == op and scope in (node.name or "")]


def weight_of(node):
    return next(value for value in node.inputs if value is not None and value.is_initializer())


def set_weight(value, array):
    value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)


def on_weight(op, scope, edit):
    """A fault in the weight of the first such node; returns that node."""

    def plant(model):
        node = nodes(model, op, scope)[0]
        value = weight_of(node)
        set_weight(value, edit(value.const_value.numpy().copy()))
        return node

    return plant


def on_node(op, scope, edit):
    def plant(model):
        node = nodes(model, op, scope)[0]
        return edit(node) or node

    return plant


def element(place, change):
    def edit(array):
        array[place] = change(array[place])
        return array

    return edit


def swap_weights(scope, other):
    def plant(model):
        first, second = nodes(model, "MatMul", scope)[0], nodes(model, "MatMul", other)[0]
        a, b = weight_of(first), weight_of(second)
        a.const_value, b.const_value = b.const_value, a.const_value
        return first

    return plant


def rename(op_type):
    def edit(node):
        node.op_type = op_type

    return edit


def attribute(name, value):
    def edit(node):
        node.attributes[name] = ir.convenience.convert_attribute(name, value)

    return edit


def bypass(index):
    """The node's readers read its input instead."""

    def edit(node):
        out, source = node.outputs[0], node.inputs[index]
        reader = out.uses()[0].node
        out.replace_all_uses_with(source)
        return reader

    return edit


def swap_inputs(node):
    a, b = node.inputs[0], node.inputs[1]
    node.replace_input_with(0, b)
    node.replace_input_with(1, a)


LAYER_1 = "/layers.1/"
FAULTS = {
    "one weight off by a tenth": on_weight("MatMul", f"{LAYER_1}up", element((3, 5), lambda w: w + 0.1)),
    "one weight of the first layer off": on_weight("MatMul", "/layers.0/query", element((0, 0), lambda w: w + 0.1)),
    "all weights off by a thousandth": on_weight("MatMul", f"{LAYER_1}value", lambda w: w * np.float32(1.001)),
    "one weight with another sign": on_weight("MatMul", f"{LAYER_1}down", element((7, 2), lambda w: -w)),
    "transposed weight": on_weight("MatMul", f"{LAYER_1}out", lambda w: w.T),
    "query and key swapped": swap_weights(f"{LAYER_1}query", f"{LAYER_1}key"),
    "dropped bias": on_weight("Add", f"{LAYER_1}up", np.zeros_like),
    "bias shifted by one": on_weight("Add", f"{LAYER_1}value", lambda b: np.roll(b, 1)),
    "bias of the head off": on_weight("Gemm", "/head", lambda w: w + np.float32(1e-3)),
    "word table off by one": on_weight("Gather", "/words", lambda w: np.roll(w, 1, axis=0)),
    "rounded to float16": on_weight("MatMul", f"{LAYER_1}up", lambda w: w.astype(np.float16).astype(np.float32)),
    "norm scale off": on_weight("LayerNormalization", f"{LAYER_1}norm", lambda w: w * np.float32(1.001)),
    "epsilon changed": on_node("LayerNormalization", f"{LAYER_1}norm", attribute("epsilon", 1e-2)),
    "softmax over the wrong axis": on_node("Softmax", LAYER_1, attribute("axis", 2)),
    "erf taken for tanh": on_node("Erf", LAYER_1, rename("Tanh")),
    "softmax taken for its logarithm": on_node("Softmax", LAYER_1, rename("LogSoftmax")),
    "residual subtracted": on_node("Add", f"{LAYER_1}Add_2", rename("Sub")),
    "scale multiplied": on_node("Div", f"{LAYER_1}Div", rename("Mul")),
    "operands of attention swapped": on_node("Sub", "/Sub", swap_inputs),
    "nan in one weight": on_weight("MatMul", f"{LAYER_1}key", element((0, 0), lambda w: np.nan)),
    "infinity in one weight": on_weight("MatMul", f"{LAYER_1}key", element((0, 0), lambda w: np.inf)),
    "bias left out of the graph": on_node("Add", f"{LAYER_1}up", bypass(1)),
    "mask left out": on_node("Add", f"{LAYER_1}Add", bypass(0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_caught_and_its_node_is_named(encoder, fault):
    module, artifact = encoder
    faulty = artifact.model
    node = FAULTS[fault](faulty)
    report = sweep(
        standard_stages(CASE, module, artifact.path, faulty),
        lambda seed: module_inputs(CASE, module, seed),
        seeds=range(5),
    )
    assert report.pair("exported").passed
    assert report.pair("optimized").finding.verdict is Verdict.FAIL
    found = find_first_divergence(
        artifact.model, faulty, module_inputs(CASE, module, report.pair("optimized").worst_seed)
    )
    assert any(f"'{node.name}'" in place for place in found.nodes), (node.name, found.nodes)
    assert len(found.nodes) <= 3


def drop_output(model):
    model.graph.outputs.pop()


def reverse_outputs(model):
    model.graph.outputs.reverse()


def rename_output(model):
    model.graph.outputs[0].name = "hidden_states"


def cast_output(model):
    old = model.graph.outputs[1]
    cast = ir.node("Cast", [old], attributes={"to": int(ir.DataType.DOUBLE)})
    model.graph.append(cast)
    old.name, cast.outputs[0].name = "inner", "logits"
    cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(ir.DataType.DOUBLE), old.shape
    model.graph.outputs[1] = cast.outputs[0]


def flatten_output(model):
    old = model.graph.outputs[0]
    flat = ir.node("Flatten", [old])
    model.graph.append(flat)
    old.name, flat.outputs[0].name = "inner", "hidden"
    flat.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs[0] = flat.outputs[0]


@pytest.mark.parametrize("plant", [drop_output, reverse_outputs, rename_output, cast_output, flatten_output])
def test_a_changed_interface_is_caught_whatever_the_numbers(encoder, plant):
    module, artifact = encoder
    faulty = artifact.model
    plant(faulty)
    stages = standard_stages(CASE, module, artifact.path, faulty)
    report = sweep(
        stages, lambda seed: module_inputs(CASE, module, seed), seeds=range(2), tolerances=Tolerances(1e9, 1e9)
    )
    assert report.pair("optimized").finding.verdict is Verdict.FAIL


def test_the_faultless_export_passes_a_hundred_seeds(encoder):
    module, artifact = encoder
    stages = standard_stages(CASE, module, artifact.path, artifact.model)
    assert sweep(stages, lambda seed: module_inputs(CASE, module, seed), seeds=range(100)).findings == ()
