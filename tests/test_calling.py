"""Building, calling and the flat view of inputs and outputs."""

import dataclasses
from collections import namedtuple
from typing import Any

import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import (
    ModuleInputs,
    build_module,
    eval_mode,
    flat_forward,
    module_inputs,
    run_module,
    select_outputs,
)
from pytest_modelcheck.errors import ModelCaseError


def case_of(forward=lambda self, x: x, inputs=lambda seed: (torch.ones(2),), **options) -> ModelCase:
    kind = type("Net", (nn.Module,), {"forward": forward})
    return ModelCase("net", kind, inputs, **options)


def inputs_of(case: ModelCase, seed: int = 0) -> ModuleInputs:
    return module_inputs(case, build_module(case), seed)


def outputs_of(value: Any, names: list[str] | None = None) -> dict[str, torch.Tensor]:
    return select_outputs(case_of(output_names=names), value)


A, B, C = torch.ones(1), torch.ones(2), torch.ones(3)


# -- building -----------------------------------------------------------------------------------------------------


def test_every_build_gives_the_same_weights_in_eval_mode():
    case = ModelCase("net", lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout()), lambda seed: (torch.ones(3),))
    first, second = build_module(case), build_module(case)
    assert torch.equal(first[0].weight, second[0].weight)
    assert not first.training
    assert not first[1].training


def test_building_and_drawing_inputs_leave_the_random_state_alone():
    before = torch.get_rng_state()
    inputs_of(case_of(inputs=lambda seed: (torch.randn(2),)))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_draws_the_same_inputs_and_another_seed_others():
    case = case_of(inputs=lambda seed: (torch.randn(4),))
    first, again, other = (inputs_of(case, seed).values[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_case_that_is_a_file_has_nothing_to_build(tmp_path):
    with pytest.raises(ModelCaseError, match="has no torch module"):
        build_module(ModelCase.from_onnx(tmp_path / "a.onnx"))


# -- inputs -------------------------------------------------------------------------------------------------------


def test_a_single_tensor_is_the_first_parameter():
    assert inputs_of(case_of(inputs=lambda seed: A)).names == ("x",)


def test_positional_inputs_take_the_names_of_the_parameters():
    case = case_of(lambda self, first, second=None: first, lambda seed: (A, B))
    assert inputs_of(case).names == ("first", "second")


def test_keyword_only_parameters_are_no_place_for_positional_inputs():
    def forward(self, first, *, second=None):
        return first

    with pytest.raises(ModelCaseError, match="2 positional inputs, forward takes 1: first"):
        inputs_of(case_of(forward, lambda seed: (A, B)))


def test_nested_inputs_are_named_by_path_and_constants_stay_where_they_are():
    pair = namedtuple("pair", "left right")
    made = {"x": A, "states": [{"h": B}, pair(C, 3)], "flag": True, "nothing": None}
    inputs = inputs_of(case_of(inputs=lambda seed: made))
    assert inputs.names == ("x", "states.0.h", "states.1.0")
    replaced = [value + 1 for value in inputs.values]
    again = inputs.forward_arguments(replaced)
    assert again == {
        "x": replaced[0],
        "states": [{"h": replaced[1]}, pair(replaced[2], 3)],
        "flag": True,
        "nothing": None,
    }
    assert isinstance(again["states"][1], pair)


def test_two_inputs_of_one_name_are_refused():
    with pytest.raises(ModelCaseError, match=r"two input tensors have the name 'a\.b'"):
        inputs_of(case_of(inputs=lambda seed: {"a": {"b": A}, "a.b": B}))


def test_the_wrong_number_of_values_is_refused():
    with pytest.raises(ModelCaseError, match="2 values for 1 inputs: x"):
        ModuleInputs(("x",), (A,)).forward_arguments([A, B])


# -- calling ------------------------------------------------------------------------------------------------------


def everything(self, a, /, b, *rest, c, **more):
    return a + 10 * b + 100 * sum(rest) + 1000 * c + 10000 * more.get("d", 0)


@pytest.mark.parametrize(
    ("forward", "made", "expected"),
    [
        (lambda self, a, b: a - b, {"b": A, "a": 3 * A}, 2),
        (lambda self, a, *, b: a - b, {"b": A, "a": 3 * A}, 2),
        (lambda self, **named: named["a"] - named["b"], {"b": A, "a": 3 * A}, 2),
        (lambda self, a, b, /: a - b, {"b": A, "a": 3 * A}, 2),
        (everything, {"b": A, "a": 2 * A, "rest_0": 3 * A, "rest_1": A, "c": 5 * A, "d": 6 * A}, 65412),
    ],
)
def test_every_kind_of_parameter_gets_its_value(forward, made, expected):
    case = case_of(forward, lambda seed: made)
    module = build_module(case)
    inputs = module_inputs(case, module, 0)
    assert run_module(case, module, inputs)["output_0"].item() == expected
    with flat_forward(case, module, inputs) as flat:
        assert flat(*inputs.values)[0].item() == expected


def test_a_forward_that_raises_is_an_error_with_the_shapes_of_the_inputs():
    def forward(self, x):
        raise RuntimeError("no")

    case = case_of(forward)
    with pytest.raises(ModelCaseError, match=r"net: forward\(x: float32\[2\]\) raised RuntimeError: no"):
        run_module(case, build_module(case), inputs_of(case))


def test_a_module_runs_without_gradients_and_with_its_hooks():
    module = nn.Linear(2, 2)
    module.register_forward_hook(lambda module, args, output: output * 0 + 7)
    case = ModelCase("linear", lambda: module, lambda seed: (torch.ones(2),))
    output = run_module(case, module, module_inputs(case, module, 0))["output_0"]
    assert not output.requires_grad
    assert output.tolist() == [7, 7]


def test_the_flat_forward_is_taken_off_again_also_after_an_error():
    case = case_of()
    module = build_module(case)
    inputs = inputs_of(case)
    with flat_forward(case, module, inputs):
        assert "forward" in vars(module)
    assert "forward" not in vars(module)
    with pytest.raises(TypeError, match="takes x"), flat_forward(case, module, inputs) as flat:
        flat(A, y=B)
    assert "forward" not in vars(module)


def test_a_forward_that_the_user_set_on_the_instance_is_used_and_put_back():
    def own(x):
        return x + 5

    case = case_of()
    module = build_module(case)
    module.forward = own
    with flat_forward(case, module, inputs_of(case)) as flat:
        assert flat(torch.zeros(2))[0].tolist() == [5, 5]
    assert module.forward is own


def test_input_names_that_are_no_identifiers_still_make_a_signature():
    made = {"x": {"class": A, "a-b": A, "a_b": A}}
    case = case_of(lambda self, x: sum(x.values()), lambda seed: made)
    module = build_module(case)
    inputs = module_inputs(case, module, 0)
    with flat_forward(case, module, inputs) as flat:
        assert flat(*inputs.values)[0].item() == 3


def test_eval_mode_gives_every_submodule_its_own_mode_back():
    module = nn.Sequential(nn.Dropout(), nn.Dropout()).train()
    module[1].eval()
    with eval_mode(module):
        assert not any(submodule.training for submodule in module.modules())
    assert [submodule.training for submodule in module.modules()] == [True, True, False]


# -- outputs ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Result:
    logits: torch.Tensor
    state: torch.Tensor | None = None


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (A, ["output_0"]),
        ((A, B), ["output_0", "output_1"]),
        ([A, (B, C)], ["output_0", "output_1.0", "output_1.1"]),
        ({"a": A, "b": {"c": B}}, ["a", "b.c"]),
        (Result(A), ["logits"]),
        (Result(A, B), ["logits", "state"]),
        (Pair(A, (B, C)), ["left", "right.0", "right.1"]),
        (((A, B), None, (C,)), ["output_0.0", "output_0.1", "output_2.0"]),
    ],
)
def test_outputs_are_named_by_where_they_are(value, names):
    assert list(outputs_of(value)) == names


@pytest.mark.parametrize(
    ("value", "names", "expected"),
    [
        ({"a": A, "b": B}, ["b"], {"b": B}),
        ({"a": A, "b": B}, ["b", "a"], {"b": B, "a": A}),
        ({"a": A, "b": (B, C)}, ["b"], {"b.0": B, "b.1": C}),
        ({"a": A, "b": (B, C)}, ["b.1"], {"b.1": C}),
        (Result(A, B), ["state"], {"state": B}),
        ((A, B), ["first", "second"], {"first": A, "second": B}),
        ({"a": A, "unusable": object()}, ["a"], {"a": A}),
    ],
)
def test_output_names_pick_from_mappings_and_name_sequences(value, names, expected):
    found = outputs_of(value, names)
    assert list(found) == list(expected)
    assert all(found[name] is tensor for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("value", "names", "said"),
    [
        ({"a": A}, ["b"], "no output tensor named b; it has a"),
        ({"a": A, "b": None}, ["b"], "no output tensor named b; it has a"),
        ((A, B), ["first"], r"output_names has 1 names \(first\) for 2 output tensors"),
        ((), None, "returned no tensor"),
        (None, None, "returned no tensor"),
        ((A, 3), None, "output output_1 is a int"),
        (object(), None, "output of the forward is a object"),
        ({"a": object()}, ["a"], "output a is a object"),
        ({"a": {"b": A}, "a.b": B}, None, "two tensors named 'a.b'"),
    ],
)
def test_outputs_that_cannot_be_named_are_refused(value, names, said):
    with pytest.raises(ModelCaseError, match=said):
        outputs_of(value, names)


def test_a_key_value_cache_gives_its_tensors_by_layer():
    transformers = pytest.importorskip("transformers")
    cache = transformers.DynamicCache()
    for layer in (0, 1):
        cache.update(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), layer)
    names = ["cache.0.key", "cache.0.value", "cache.1.key", "cache.1.value"]
    assert list(outputs_of({"cache": cache})) == names
    assert list(outputs_of({"x": A, "cache": cache}, ["cache"])) == names
