"""Inputs of other sizes where the case says more than `dynamic_axes`: sizes it draws itself, torch's own dimensions."""

import pytest
import torch
from torch.export import Dim

from pytest_modelcheck import ModelCase, Verdict, check_export
from pytest_modelcheck.accuracy.size_variants import dynamic_axes_of, shape_variants
from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.errors import ModelCaseError
from tests.gate_checks import said


class Halves(torch.nn.Module):
    """Takes columns of which the second half is the negative of the first; three of them, as it was traced."""

    def forward(self, x):
        half = x.shape[1] // 2
        if not torch.jit.is_tracing() and bool(((x[:, :half] + x[:, half:]).abs() > 1e-3).any()):
            raise ValueError("not mirrored")
        return x[:, :half] * (half if not torch.jit.is_tracing() else 3)


def mirrored(seed, sizes):
    half = sizes.get("columns", 6) // 2
    first = torch.rand(2, half, generator=torch.Generator().manual_seed(seed))
    return {"x": torch.cat([first, -first], 1)}


AXES = {"x": {1: "columns"}}


def checked(inputs):
    case = ModelCase("halves", Halves, inputs, exporter="torchscript", dynamic_axes=AXES)
    return check_export(case, gates={"expect_accuracy": {"seeds": 8}}).results[0]


def test_inputs_that_take_sizes_draw_what_belongs_together():
    result = checked(mirrored)
    assert result.verdict is Verdict.FAIL
    assert "only for inputs that the case does not draw: columns 4" in said(result)


def test_without_sizes_the_reference_takes_none_of_the_resized_inputs():
    result = checked(lambda seed: mirrored(seed, {}))
    assert result.verdict is Verdict.PASS, said(result)


def test_sizes_that_are_not_those_asked_for_are_refused():
    drawn = ModuleInputs(("x",), (torch.zeros(2, 6),), axes=AXES)
    (variant, *_) = shape_variants(drawn, AXES, lambda seed, sizes: drawn)
    with pytest.raises(ModelCaseError, match=r"inputs\(seed, sizes\) gives columns 6 where sizes\['columns'\] is 4"):
        variant.apply(drawn, 0)


def test_a_cache_is_tried_empty_and_with_one_new_token_without_a_mask_that_says_so():
    drawn = {"input_ids": torch.zeros(2, 3, dtype=torch.long), "past.0.key": torch.zeros(2, 1, 5, 8)}
    axes = {"input_ids": {0: "batch", 1: "sequence"}, "past.0.key": {0: "batch", 2: "past"}}
    labels = [v.label for v in shape_variants(ModuleInputs(tuple(drawn), tuple(drawn.values())), axes)]
    assert labels[-2:] == ["past 0", "sequence 1"]
    other = {"input_ids": drawn["input_ids"], "state": drawn["past.0.key"]}
    axes["state"] = axes.pop("past.0.key")
    labels = [v.label for v in shape_variants(ModuleInputs(tuple(other), tuple(other.values())), axes)]
    assert "past 0" not in labels


class Sum(torch.nn.Module):
    def forward(self, x, y):
        return (x + y) * x.shape[1]


def test_dimensions_that_torch_names_vary_together():
    def pair(seed):
        x = torch.rand(2, 4, generator=torch.Generator().manual_seed(seed))
        return {"x": x, "y": x + 1}

    shapes = {"x": {1: Dim.DYNAMIC}, "y": {1: Dim.DYNAMIC}}
    checked = check_export(ModelCase("sum", Sum, pair, dynamic_shapes=shapes))
    (result,) = checked.results
    assert result.verdict is Verdict.PASS, said(result)
    inputs = checked.modelcheck.graphs.inputs(0)
    axes = dynamic_axes_of(checked.modelcheck.case, checked.modelcheck.exported.model, inputs)
    assert axes["x"] == axes["y"]
    assert result.measured.endswith("of them varied")
