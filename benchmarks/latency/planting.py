"""The two models, and extra work of known cost in their graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from pytest_modelcheck import ModelCase

ROWS, WIDTH = 4, 256
"""A planted MatMul is (4, 256) x (256, 256): about 6 microseconds, a thousandth of MobileNetV3-Small."""


def bert4() -> ModelCase:
    """BERT-base's width with 4 layers, batch 1, 16 tokens."""

    def build() -> torch.nn.Module:
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(num_hidden_layers=4))

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.randint(0, 30000, (1, 16))}

    return ModelCase("bert-4-layers", build, inputs, output_names=["last_hidden_state"])


def mobilenet() -> ModelCase:
    """MobileNetV3-Small at 224 x 224, batch 1."""
    from examples.zoo.convolutional import MOBILENET_V3_SMALL

    return MOBILENET_V3_SMALL.case("dynamo")


CASES: dict[str, Callable[[], ModelCase]] = {"bert4": bert4, "mobilenet": mobilenet}


def slowed(model: ir.Model, count: int) -> ir.Model:
    """The model with a chain of `count` MatMuls that depends on its input, as one more output of one element.

    The chain begins with one element of the first input: what depends on no input would be folded away, and reading
    all of an image of 224 x 224 costs 3 % of MobileNetV3-Small before the first MatMul.
    """
    model = model.clone()
    graph = model.graph
    generator = np.random.default_rng(0)

    def constant(label: str, array: np.ndarray[Any, Any]) -> ir.Value:
        value = ir.Value(name=f"planted_{label}", const_value=ir.tensor(array, name=f"planted_{label}"))
        graph.register_initializer(value)
        return value

    def node(op: str, inputs: list[ir.Value], label: str, **attributes: Any) -> ir.Value:
        made = ir.node(op, inputs, attributes=attributes)
        made.outputs[0].name = f"planted_{label}"
        graph.append(made)
        return made.outputs[0]

    source = graph.inputs[0]
    starts, ends = (constant(name, np.full(source.shape.rank(), at)) for name, at in (("starts", 0), ("ends", 1)))
    value = node("Slice", [source, starts, ends], "slice")
    value = node("Reshape", [value, constant("scalar", np.zeros(0, np.int64))], "reshape")
    value = node("Cast", [value], "cast", to=int(ir.DataType.FLOAT))
    value = node("Add", [value, constant("start", generator.standard_normal((ROWS, WIDTH)).astype(np.float32))], "add")
    weight = constant("weight", (generator.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32))
    for index in range(count):
        value = node("MatMul", [value, weight], f"matmul_{index}")
    value = node("ReduceMax", [value], "result", keepdims=0)
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
    graph.outputs.append(value)
    return model
