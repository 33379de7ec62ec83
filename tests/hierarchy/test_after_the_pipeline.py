"""Owners after the whole pipeline, where a pass puts a node between a graph input and several modules."""

import pytest

from examples.zoo.registry import ALL_CASES
from pytest_modelcheck.check import ModelCheck


@pytest.mark.parametrize("case", ALL_CASES["cross-attention"], ids=lambda case: case.exporter)
def test_the_flattened_view_of_an_input_belongs_to_a_module_that_reads_it(case):
    check = ModelCheck(case)
    assert dict(check.attribution.ops_after)["Reshape"] > 0
    assert check.graphs.optimized_hierarchy.coverage == 1.0
