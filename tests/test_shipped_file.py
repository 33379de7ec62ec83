"""A shipped .onnx file held against the torch module that it was made of: equal, or what differs by name."""

import functools
import io

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.numbers.judging import judge
from pytest_modelcheck.numbers.text import render
from pytest_modelcheck.result import FindingError, Verdict
from tests.gate_checks import ask, said


class Net(nn.Module):
    """Returns a dict; forward's names are not those of the file."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x, mask):
        hidden = torch.relu(self.body(x)) * mask
        return {"scores": self.head(hidden), "states": (hidden, hidden.sum(-1))}


class Gelu(Net):
    def forward(self, x, mask):
        return {"scores": self.head(nn.functional.gelu(self.body(x)) * mask), "states": (self.body(x), x.sum(-1))}


def build(kind=Net, seed=0):
    torch.manual_seed(seed)
    return kind().eval()


@functools.cache
def exported():
    """The bytes of a file that somebody exported."""
    stream = io.BytesIO()
    torch.onnx.export(
        build(),
        (torch.randn(2, 8), torch.ones(2, 16)),
        stream,
        dynamo=False,
        input_names=["images", "mask"],
        output_names=["scores", "hidden", "energy"],
        dynamic_axes={"images": {0: "batch"}, "mask": {0: "batch"}},
    )
    return stream.getvalue()


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "shipped.onnx"
    made.write_bytes(exported())
    return made


def edited(path, edit):
    model = onnx.load(path)
    edit(model)
    onnx.save(model, path)
    return path


def weight_moved(model):
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "head.weight")
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.1), tensor.name))


def checked(path, inputs=None, module=build):
    return ModelCheck(ModelCase.from_onnx(path, inputs, module=module))


def accuracy(path, inputs=None, module=build):
    return ask(checked(path, inputs, module), "expect_accuracy", seeds=2)


def test_a_file_of_the_module_agrees_under_other_sizes_of_its_dynamic_axes(path):
    result = accuracy(path)
    assert result.findings == ()
    assert result.measured.startswith("torch -> exported ")
    assert "varied" in result.measured


@pytest.mark.parametrize(
    "inputs",
    [
        lambda seed: {"x": torch.randn(3, 8), "mask": torch.ones(3, 16)},
        lambda seed: {"mask": torch.ones(3, 16), "x": torch.randn(3, 8)},
        lambda seed: {"images": torch.randn(3, 8), "mask": torch.ones(3, 16)},
        lambda seed: (torch.randn(3, 8), torch.ones(3, 16)),
    ],
    ids=["names of the forward", "in another order", "names of the file", "a tuple"],
)
def test_inputs_are_matched_by_name_and_the_rest_in_order(path, inputs):
    check = checked(path, inputs)
    assert check.exported.path == path
    given = check.torch.example.as_dict()
    assert {name: tuple(value.shape) for name, value in given.items()} == {"images": (3, 8), "mask": (3, 16)}


def test_the_kinds_of_an_export_are_there_under_the_names_of_the_file(path):
    check = checked(path)
    assert check.lockable == ("interface", "modules", "attribution", "fusion", "numbers")
    assert [port.name for port in check.interface.inputs] == ["images", "mask"]
    assert list(check.numbers.outputs) == ["scores", "hidden", "energy"]
    assert [row.path for row in check.modules.rows] == ["", "body", "head"]


def test_other_weights_are_named_with_the_first_node_that_differs(path):
    text = said(accuracy(edited(path, weight_moved)))
    assert "expect_accuracy: output 'scores' expected" in text
    assert "first difference at Gemm '/head/Gemm' in head" in text
    assert "initializers that differ: head.weight" in text
    assert "The file does not compute what the module does: export it again, or build its own module." in text
    assert "try the other exporter" not in text


def test_another_forward_is_found_where_it_begins(path):
    text = said(accuracy(path, module=lambda: build(Gelu)))
    assert "output 'energy' expected" in text
    assert "first difference at Mul '/Mul' in the root module" in text
    assert "Relu '/Relu' in the root module" in text
    assert "initializers that differ" not in text


def test_numbers_lock_the_function_of_the_module_and_the_weights_of_the_file(path):
    recorded = render(checked(path).numbers)
    assert "\n[outputs]\nscores float32 [2,4]" in recorded
    assert "\n[initializers]\n" in recorded
    assert judge(recorded, checked(path).numbers).found == ""
    gelu = judge(recorded, checked(path, module=lambda: build(Gelu)).numbers)
    assert gelu.found.startswith("the function changed, first at the input of head (Linear)")
    moved = judge(recorded, checked(edited(path, weight_moved)).numbers)
    assert (moved.found, moved.where) == ("1 of 4 initializers changed", ("head.weight has other values",))


def test_other_types_and_sizes_are_one_error_that_names_them(path):
    check = checked(path, lambda seed: (torch.randn(2, 8).double(), torch.ones(2, 16)), lambda: build().double())
    result = ask(check, "expect_accuracy", seeds=2)
    assert [finding.verdict for finding in result.findings] == [Verdict.ERROR]
    assert (
        "found file_differs: input images float32 [batch, 8] of the file is float64[2, 8] of the module; "
        "output scores float32 [batch, 4] of the file is float64[2, 4] of the module; " in said(result)
    )
    assert "next:  let build() and inputs() give what the file was exported from, or export the file again" in said(
        result
    )


def test_a_fixed_size_must_be_the_example_s(path):
    def fixed(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    check = checked(edited(path, fixed), lambda seed: (torch.randn(2, 8), torch.ones(2, 16)))
    with pytest.raises(FindingError, match=r"input images float32 \[1, 8\] of the file is float32\[2, 8\] of the mod"):
        check.exported  # noqa: B018


def test_another_number_of_inputs_or_outputs_is_said_with_both_lists(path):
    with pytest.raises(FindingError) as caught:
        checked(path, lambda seed: {"x": torch.randn(2, 8)}).exported  # noqa: B018
    assert (
        "shipped: the file's inputs are images, mask; the module's are x: give them the same names, or as many in "
        "the same order" in str(caught.value)
    )

    class Two(Net):
        def forward(self, x, mask):
            return super().forward(x, mask)["states"]

    with pytest.raises(FindingError) as caught:
        checked(path, module=lambda: build(Two)).exported  # noqa: B018
    assert "the file's outputs are scores, hidden, energy; the module's are output_0, output_1" in str(caught.value)


def test_an_input_that_the_file_does_not_read_is_not_fed(path):
    class Three(Net):
        def forward(self, x, mask, unread):
            return super().forward(x, mask)

    inputs = lambda seed: {"images": torch.randn(2, 8), "mask": torch.ones(2, 16), "unread": torch.ones(1)}  # noqa: E731
    check = checked(path, inputs, lambda: build(Three))
    assert check.exported.path == path
    assert check.torch.example.names == ("images", "mask", "unread")


def test_a_file_that_cannot_be_read_says_so_before_anything_is_built(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"not a model")

    def never():
        raise AssertionError("built")

    result = accuracy(tmp_path / "broken.onnx", module=never)
    assert "found invalid_model: " in said(result)
