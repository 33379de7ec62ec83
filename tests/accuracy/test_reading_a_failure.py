"""docs/reading_a_failure.md shows messages: each is one that the checks really give, numbers aside."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.gates.evaluate import Declared, evaluate

PAGE = Path(__file__).parents[2] / "docs" / "reading_a_failure.md"
NUMBER = re.compile(r"-?\d+\.\d+(e[-+]?\d+)?|-?\d+e[-+]?\d+|(?<=cosine )-?\d+")


def words(text):
    """A message without its numbers, places in the file system, and line breaks.

    Nor with the element: which of several is farthest off, where all are equally wrong, is a matter of the processor.
    """
    text = re.sub(r"replay \S+", "replay FILE", text)
    text = re.sub(r" at \[[\d, ]+\]", " at PLACE", text)
    return " ".join(NUMBER.sub("#", text).split())


def shown():
    """The messages of the page: its blocks of plain text."""
    return [words(block) for block in re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def said(check, **arguments):
    gate = registered_gates()["expect_accuracy"]
    (result,) = evaluate(check, [Declared(gate, gate.expectation((), arguments))])
    return [finding.render() for finding in result.findings]


class Tagger(torch.nn.Module):
    """Two scores per token; the mean over the batch is taken by its size in the example."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(100, 16)
        self.head = torch.nn.Linear(16, 2)

    def forward(self, ids):
        hidden = self.words(ids)
        centre = hidden.sum(0, keepdim=True) / len(hidden.tolist())
        return self.head(hidden - centre)


def draw_ids(seed):
    return {"ids": torch.randint(0, 100, (2, 6), generator=torch.Generator().manual_seed(seed))}


def baked_size(folder):
    axes = {"ids": {0: "batch", 1: "sequence"}}
    case = ModelCase("tagger", Tagger, draw_ids, exporter="torchscript", dynamic_axes=axes, output_names=["scores"])
    return said(ModelCheck(case))


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(32, 64)
        self.head = torch.nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x)))


def classifier():
    return ModelCase(
        "classifier",
        Classifier,
        lambda seed: {"x": torch.randn(4, 32, generator=torch.Generator().manual_seed(seed))},
        exporter="torchscript",
        output_names=["logits"],
    )


def round_weights(model):
    """A quantizer that was meant to leave the last layer alone."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in copy.graph.initializer:
        if tensor.name == "head.weight":
            rounded = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(rounded, tensor.name))
    return copy


def harmful_pass(folder):
    return said(ModelCheck(classifier(), passes=[round_weights], cache=folder))


def one_weight(folder):
    check = ModelCheck(classifier())
    model = check.exported.model
    value = model.graph.initializers["hidden.weight"]
    array = value.const_value.numpy().copy()
    array[5, 7] *= np.float32(1.00001)
    value.const_value = ir.tensor(array, name=value.name)
    ir.save(model, check.exported.path)
    return said(check)


class Pool(torch.nn.Module):
    def forward(self, image):
        return torch.nn.functional.max_pool2d(torch.nn.functional.pad(image, (0, 1, 0, 1)), 2)


def runtime_fold(folder):
    def draw(seed):
        return {"image": torch.rand(1, 3, 7, 7, generator=torch.Generator().manual_seed(seed))}

    found = said(ModelCheck(ModelCase("pool", Pool, draw, output_names=["pooled"])))
    if not found:
        pytest.skip("this onnxruntime has repaired the fold of Pad into MaxPool")
    return found


@pytest.mark.parametrize("failure", [baked_size, harmful_pass, one_weight, runtime_fold])
def test_the_page_shows_what_the_checks_say(failure, tmp_path):
    messages = failure(tmp_path)
    assert messages
    assert words(messages[0]) in shown()


def test_every_message_of_the_page_is_held_by_a_failure():
    assert len(shown()) == 4
