"""The list of planted faults: every one is caught, and nearly every one is named right.

``MODELCHECK_FAULTS=full`` plants them into BERT-base, Whisper-tiny's decoder and ResNet-50 instead of small copies.
"""

import os

import pytest

from tests.accuracy.fault_list import FAULTS
from tests.accuracy.faulty_models import SMALL
from tests.accuracy.planted import PlantedModel

FULL = os.environ.get("MODELCHECK_FAULTS") == "full"
NAMED = 0.9
"""Share of the faults whose pass and whose node, weight or module must be named right."""

MODELS = ("bert", "whisper-decoder", "resnet")
FULL_SIZE = {"bert": "bert-base", "whisper-decoder": "whisper-tiny-decoder", "resnet": "resnet50"}

_outcomes = {}


def case_of(name):
    if not FULL:
        return SMALL[name]
    from examples.zoo.registry import model

    return model(FULL_SIZE[name]).case("dynamo")


@pytest.fixture(scope="module", params=MODELS)
def outcomes(request):
    """What became of every fault that this model has a place for."""
    if request.param not in _outcomes:
        planted = PlantedModel(case_of(request.param))
        tried = [planted.try_fault(fault) for fault in FAULTS]
        _outcomes[request.param] = [outcome for outcome in tried if outcome is not None]
    return _outcomes[request.param]


def test_every_planted_fault_is_caught(outcomes):
    assert [outcome.fault for outcome in outcomes if not outcome.by] == []
    assert len(outcomes) >= 30


def test_the_guilty_pass_and_the_node_are_named_right_in_nine_of_ten(outcomes):
    wrong = [(outcome.fault, outcome.said) for outcome in outcomes if not outcome.named]
    assert len(wrong) <= (1 - NAMED) * len(outcomes), wrong


def test_the_list_is_long_and_every_fault_has_a_place_in_some_model():
    if set(_outcomes) != set(MODELS):
        pytest.skip("needs the outcomes of all three models, which the tests above collect")
    placed = {outcome.fault for found in _outcomes.values() for outcome in found}
    assert sorted(fault.name for fault in FAULTS if fault.name not in placed) == []
    assert len(placed) >= 60
