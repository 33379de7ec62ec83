import pytest
import torch
from torch.export import Dim

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import module_inputs
from pytest_modelcheck.calling.sizes import offers_sizes
from pytest_modelcheck.errors import ModelCaseError

STATE = torch.zeros(2, 3)


class Net(torch.nn.Module):
    def forward(self, x, past=None):
        return x


def inputs(seed):
    return {"x": STATE, "past": [(STATE, STATE), (STATE, STATE)]}


def made(**options):
    return module_inputs(ModelCase("net", Net, inputs, **options), Net(), 0)


def test_an_entry_for_an_argument_is_meant_of_every_tensor_in_it():
    axes = made(dynamic_axes={"past": {0: "batch", 1: "past"}, "past.1.0": {1: "other"}}).axes
    assert axes["past.0.0"] == axes["past.0.1"] == axes["past.1.1"] == {0: "batch", 1: "past"}
    assert axes["past.1.0"] == {0: "batch", 1: "other"}


def test_dynamic_shapes_have_the_structure_of_the_inputs():
    batch, half = Dim("batch"), Dim("half")
    spec = {"x": {0: batch, 1: 2 * half}, "past": [({0: batch}, None), ((batch, Dim.STATIC), {1: Dim.DYNAMIC})]}
    found = made(dynamic_shapes=spec)
    assert found.axes == {
        "x": {0: "batch", 1: "2*half"},
        "past.0.0": {0: "batch"},
        "past.1.0": {0: "batch"},
        "past.1.1": {1: "past_1_1_1"},
    }
    assert found.dims["x"][0] is batch


def test_dynamic_shapes_in_the_order_of_the_arguments_and_one_entry_for_all_of_a_cache():
    found = made(dynamic_shapes=({0: "batch"}, {1: "past"}))
    assert found.axes["x"] == {0: "batch"}
    assert found.axes["past.1.1"] == {1: "past"}


def test_a_cache_is_two_lists_as_torch_sees_it():
    transformers = pytest.importorskip("transformers")

    def with_cache(seed):
        cache = transformers.DynamicCache()
        for layer in range(2):
            cache.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4), layer)
        return {"past": cache}

    key, value = {2: Dim("past")}, {0: Dim("batch")}
    case = ModelCase("net", Net, with_cache, dynamic_shapes={"past": [[key, key], [value, None]]})
    assert module_inputs(case, Net(), 0).axes == {
        "past.0.key": {2: "past"},
        "past.1.key": {2: "past"},
        "past.0.value": {0: "batch"},
    }
    wrong = ModelCase("net", Net, with_cache, dynamic_shapes={"past": [[key], [value]]})
    with pytest.raises(ModelCaseError, match="dynamic_shapes: 'past' holds keys, values, and its entry is list of 2"):
        module_inputs(wrong, Net(), 0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"y": None}, "dynamic_shapes names 'y'; the inputs are x, past"),
        ((None, None, None), "dynamic_shapes has 3 entries, the inputs are x, past"),
        ({"past": [None]}, "dynamic_shapes: 'past' holds 0, 1, and its entry is list of 1"),
        ({"x": {"rows": 1}}, "dynamic_shapes: 'x' is one tensor, and its entry is {'rows': 1}"),
        ({"x": {0: "past + "}}, "dynamic_shapes, axis 0 of 'x': dimension 'past \\+ ' cannot be read"),
        ({"x": {0: "past + more"}}, "dynamic_shapes, axis 0 of 'x': 'past \\+ more' uses 'past', which no axis is"),
    ],
)
def test_dynamic_shapes_that_do_not_fit_are_refused(spec, message):
    with pytest.raises(ModelCaseError, match=message):
        made(dynamic_shapes=spec)


def test_axes_are_declared_once():
    with pytest.raises(ModelCaseError, match="'net': give dynamic_axes or dynamic_shapes, not both"):
        made(dynamic_axes={}, dynamic_shapes={})
    with pytest.raises(ModelCaseError, match="dynamic_shapes must be a dict by argument, or a tuple"):
        made(dynamic_shapes="batch")


def test_a_provider_is_one_that_is_known():
    with pytest.raises(ModelCaseError, match="provider 'cuda' is unknown; choose one of CPU, CUDA"):
        made(provider="cuda")


def test_inputs_take_sizes_by_that_name_alone():
    assert offers_sizes(ModelCase("net", Net, lambda seed, sizes: {"x": STATE}))
    assert not offers_sizes(ModelCase("net", Net, lambda seed, length=3: {"x": STATE}))
