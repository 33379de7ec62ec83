"""Exports that are edited behind the exporter's back: what the gates that run a graph must see.

A row edits what one output gives, or what is read of one input, by a chain of operators: ``("Mul", 2.0)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

Step = tuple[Any, ...]
NOW = np.array([1, 0], np.float32).reshape(2, 1, 1, 1)
"""Of a batch of two rows, the first."""


class Net(nn.Module):
    """Two inputs; two outputs, one of them integers."""

    def __init__(self):
        super().__init__()
        self.first, self.other, self.last = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x, z):
        y = self.last(torch.relu(self.first(x)) + self.other(z))
        return {"y": y, "label": y.argmax(-1)}


def net_inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"x": 3 * torch.randn(5, 4, generator=generator), "z": torch.randn(5, 4, generator=generator)}


@dataclass(frozen=True)
class Edit:
    """What is done to a file.

    Attributes:
        name: What is wrong, or harmless.
        says: Words of the finding; empty where the gate must be green.
        gives: Output -> steps that its value takes.
        reads: Input -> steps that what is read of it takes.
        names: Output or input -> the name that it gets.
        weights: Initializer -> factor.
        operators: Operator -> the one that takes its place, with attributes.
    """

    name: str
    says: str
    gives: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    reads: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    operators: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)


def edited(model: onnx.ModelProto, edit: Edit) -> onnx.ModelProto:
    """A copy of the model with the edit made."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    for node in graph.node:
        if node.op_type in edit.operators:
            name, attributes = edit.operators[node.op_type]
            node.op_type = name.rpartition(":")[2]
            node.domain = name.rpartition(":")[0]
            node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    for weight in graph.initializer:
        if weight.name in edit.weights:
            array = numpy_helper.to_array(weight)
            weight.CopyFrom(numpy_helper.from_array(array * array.dtype.type(edit.weights[weight.name]), weight.name))
    for name, steps in edit.gives.items():
        _rename(graph, name, f"{name}_before")
        graph.node.extend(_chain(f"{name}_before", name, steps))
    for name, steps in edit.reads.items():
        _rename(graph, name, f"{name}_read")
        for position, node in enumerate(_chain(name, f"{name}_read", steps)):
            graph.node.insert(position, node)
    for name, new in edit.names.items():
        _rename(graph, name, new)
        for port in (*graph.input, *graph.output):
            port.name = new if port.name == name else port.name
    domains = {node.domain for node in graph.node} - {imported.domain for imported in made.opset_import}
    made.opset_import.extend(helper.make_opsetid(domain, 1) for domain in domains)
    return made


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def _chain(start: str, end: str, steps: tuple[Step, ...]) -> list[onnx.NodeProto]:
    nodes, value = [], start
    for number, (operator, *operands) in enumerate(steps):
        attributes = operands.pop() if operands and isinstance(operands[-1], dict) else {}
        names = []
        for place, operand in enumerate(operands):
            array = np.asarray(operand)
            array = array.astype(np.float32) if array.dtype == np.float64 else array
            names.append(f"{end}_{number}_{place}")
            nodes.append(helper.make_node("Constant", [], names[-1:], value=numpy_helper.from_array(array)))
        made = end if number == len(steps) - 1 else f"{end}_{number}"
        nodes.append(helper.make_node(operator, [value, *names], [made], **attributes))
        value = made
    return nodes


FLOAT, HALF, BFLOAT, DOUBLE = ({"to": number} for number in (1, 10, 16, 11))
OVER = "expected float32[5, 3] with |difference| <= max("
LOADS = "expected a graph that the runtime converts and loads"
RUNTIME = (
    Edit("the sign", OVER, gives={"y": (("Neg",),)}),
    Edit("a thousandth too large", OVER, gives={"y": (("Mul", 1.001),)}),
    Edit("a thousandth added", OVER, gives={"y": (("Add", 0.001),)}),
    Edit("one column", OVER, gives={"y": (("Mul", np.float32([1, 1.01, 1])),)}),
    Edit("one row", OVER, gives={"y": (("Add", np.float32([[0], [0], [0], [0], [0.01]])),)}),
    Edit("columns exchanged", OVER, gives={"y": (("Gather", np.array([1, 0, 2]), {"axis": 1}),)}),
    Edit("in half precision", OVER, gives={"y": (("Cast", HALF), ("Cast", FLOAT))}),
    Edit("in bfloat16", OVER, gives={"y": (("Cast", BFLOAT), ("Cast", FLOAT))}),
    Edit("what is negative", OVER, gives={"y": (("Abs",),)}),
    Edit("what is large", OVER, gives={"y": (("Clip", np.float32(-2), np.float32(2)),)}),
    Edit("zeros", OVER, gives={"y": (("Mul", 0.0),)}),
    Edit("not a number", "NaN", gives={"y": (("Mul", 0.0), ("Log",), ("Mul", 0.0))}),
    Edit("a softmax more", OVER, gives={"y": (("Softmax", {"axis": -1}),)}),
    Edit("a wider type", LOADS, gives={"y": (("Cast", DOUBLE),)}),
    Edit("labels off by one", "label", gives={"label": (("Add", np.int64(1)),)}),
    Edit("one label", "label", gives={"label": (("Add", np.array([0, 0, 0, 0, 1])),)}),
    Edit("an input unread", "output 'y': over tolerance", reads={"z": (("Mul", 0.0),)}),
    Edit("an input scaled", OVER, reads={"x": (("Mul", 1.001),)}),
    Edit("an input cut at 5", OVER, reads={"x": (("Clip", np.float32(-5), np.float32(5)),)}),
    Edit("a weight", "expected", weights={"first.weight": 1.001}),
    Edit("a bias gone", "expected", weights={"last.bias": 0.0}),
    Edit("a bias too large", "expected", weights={"last.bias": 1.001}),
    Edit("LeakyRelu for Relu", OVER, operators={"Relu": ("LeakyRelu", {"alpha": 0.01})}),
    Edit("Abs for Relu", OVER, operators={"Relu": ("Abs", {})}),
    Edit("Elu for Relu", "output 'y': over tolerance", operators={"Relu": ("Elu", {})}),
    Edit("an operator that no runtime has", LOADS, operators={"Relu": ("acme:Relu", {})}),
    Edit("an output of another name, which expect_interface sees", "", names={"y": "logits"}),
    Edit("an identity more", "", gives={"y": (("Identity",),)}),
    Edit("a factor of one", "", gives={"y": (("Mul", 1.0),)}),
    Edit("untouched", ""),
)

TOKENS = "tokens expected the 4 greedy tokens of torch"
GENERATION = (
    Edit("keys negated", TOKENS, gives={"present_key": (("Neg",),)}),
    Edit("values a hundredth too large", TOKENS, gives={"present_value": (("Mul", 1.01),)}),
    Edit("values in bfloat16", TOKENS, gives={"present_value": (("Cast", BFLOAT), ("Cast", FLOAT))}),
    Edit("keys that are zeros", "expected", gives={"present_key": (("Mul", 0.0),)}),
    Edit("values of one row", TOKENS, gives={"present_value": (("Mul", NOW),)}),
    Edit("keys of one head", TOKENS, gives={"present_key": (("Mul", NOW.reshape(1, 2, 1, 1)),)}),
    Edit("heads exchanged", TOKENS, gives={"present_value": (("Gather", np.array([1, 0]), {"axis": 1}),)}),
    Edit("rows exchanged", TOKENS, gives={"present_value": (("Gather", np.array([1, 0]), {"axis": 0}),)}),
    Edit(
        "the oldest forgotten",
        "expected",
        gives={"present_value": (("Slice", np.array([1]), np.array([99]), np.array([2])),)},
    ),
    Edit("the past unread", TOKENS, reads={"past_value": (("Mul", 0.0),)}),
    Edit("the past negated", TOKENS, reads={"past_key": (("Neg",),)}),
    Edit("the past cut", TOKENS, reads={"past_value": (("Clip", np.float32(-0.5), np.float32(0.5)),)}),
    Edit("every place is 0", TOKENS, reads={"position_ids": (("Mul", np.int64(0)),)}),
    Edit("places off by one", TOKENS, reads={"position_ids": (("Add", np.int64(1)),)}),
    Edit("places that stop at 6", TOKENS, reads={"position_ids": (("Clip", np.int64(0), np.int64(6)),)}),
    Edit("a mask that masks nothing", TOKENS, reads={"attention_mask": (("Mul", np.int64(0)), ("Add", np.int64(1)))}),
    Edit("the next word", TOKENS, reads={"input_ids": (("Add", np.int64(1)), ("Mod", np.int64(50)))}),
    Edit("logits negated", TOKENS, gives={"logits": (("Neg",),)}),
    Edit("logits twice as large", "the same tokens, and other logits", gives={"logits": (("Mul", 2.0),)}),
    Edit("logits a hundredth too large", "the same tokens, and other logits", gives={"logits": (("Mul", 1.01),)}),
    Edit("logits shifted", "the same tokens, and other logits", gives={"logits": (("Add", 0.1),)}),
    Edit("probabilities", "the same tokens, and other logits", gives={"logits": (("Softmax", {"axis": -1}),)}),
    Edit("logits that are no numbers", "expected", gives={"logits": (("Mul", 0.0), ("Log",), ("Mul", 0.0))}),
    Edit("one word never", TOKENS, gives={"logits": (("Add", np.float32([-99] * 25 + [0] * 25)),)}),
    Edit("logits of another name", "scores", names={"logits": "scores"}),
    Edit("a cache of another name", "expected", names={"present_value": "state"}),
    Edit("keys for values", TOKENS, names={"present_key": "x", "present_value": "present_key", "x": "present_value"}),
    Edit("an identity more", "", gives={"present_key": (("Identity",),)}),
    Edit("places that stop at 60", "", reads={"position_ids": (("Clip", np.int64(0), np.int64(60)),)}),
    Edit("untouched", ""),
)
