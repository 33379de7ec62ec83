"""Attention with a cache: against torch's functional attention in eight uses, its own cache, state and golden file."""

import pytest

from examples.attention_parity.case import CASE, GOLDEN
from examples.attention_parity.scenarios import SCENARIOS
from pytest_modelcheck.accuracy import compare, to_numpy


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_attention_equals_torch_functional(scenario):
    module = scenario.build()
    expected = {name: to_numpy(tensor) for name, tensor in scenario.expected(module).items()}
    given = {name: to_numpy(tensor) for name, tensor in scenario.given(module).items()}
    comparison = compare(expected, given, atol=1e-6, rtol=1e-6, model=scenario.name)
    assert comparison.passed, comparison.finding.render()


@pytest.mark.parametrize("model_case", [CASE])
@pytest.mark.expect_cache_parity(cache=("past", "present"), sequence="x", chunks=(1, 2, 5), seeds=3)
@pytest.mark.expect_state_roundtrip(seeds=5)
@pytest.mark.expect_golden(GOLDEN)
@pytest.mark.expect_golden(GOLDEN, stage="optimized")
@pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20)
def test_attention(modelcheck):
    pass
