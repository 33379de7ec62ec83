"""Declaring a model case: what is refused, before anything is loaded."""

import pytest

from pytest_modelcheck import ModelCase
from pytest_modelcheck.errors import ModelCaseError


def build():
    raise AssertionError("declaring a case must not build it")


def inputs(seed):
    raise AssertionError("declaring a case must not draw inputs")


def test_declaring_a_case_builds_nothing():
    case = ModelCase("m", build, inputs)
    assert (case.name, case.exporter, case.opset) == ("m", "dynamo", None)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("", build, inputs), {}, "ModelCase name must be a non-empty string, got ''"),
        ((None, build, inputs), {}, "ModelCase name must be a non-empty string, got None"),
        (("m", build, inputs), {"exporter": "tf"}, "exporter 'tf' is unknown; choose one of dynamo, torchscript"),
        (("m", None, inputs), {}, "ModelCase 'm': build must be callable, got NoneType; wrap it in a function"),
        (("m", build, {"x": 1}), {}, "ModelCase 'm': inputs must be callable, got dict"),
        (
            ("m", build, inputs),
            {"dynamic_axes": {"ids": {1: "sequence"}, "mask": {1: "past + sequence"}}},
            "ModelCase 'm': dynamic_axes, axis 1 of 'mask': 'past + sequence' uses 'past', which no axis is named; "
            "named axes: sequence",
        ),
        (
            ("m", build, inputs),
            {"dynamic_axes": {"ids": {0: "batch size"}}},
            "ModelCase 'm': dynamic_axes, axis 0 of 'ids': dimension 'batch size' cannot be read: write a name",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_with_the_way_out(arguments, options, message):
    with pytest.raises(ModelCaseError) as caught:
        ModelCase(*arguments, **options)
    assert message in str(caught.value)


def test_a_module_beside_a_file_is_a_function_that_builds_it():
    import torch

    assert ModelCase.from_onnx("a.onnx", module=build).build is build
    assert ModelCase.from_onnx("a.onnx", module=torch.nn.ReLU).build is torch.nn.ReLU
    for wrong in (torch.nn.ReLU(), "net"):
        with pytest.raises(ModelCaseError) as caught:
            ModelCase.from_onnx("a.onnx", module=wrong)
        assert str(caught.value) == (
            "ModelCase 'a': module must be a function that builds the torch module, "
            f"got {type(wrong).__name__}; write module=lambda: ..."
        )


def test_a_case_of_a_file_takes_its_name_from_the_file():
    assert ModelCase.from_onnx("models/encoder.onnx").name == "encoder"
    assert ModelCase.from_onnx("models/encoder.onnx", name="e").name == "e"
