import functools
import re

import numpy as np
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict, check_export
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.gates import MarkerError, generation
from pytest_modelcheck.gates.generation import parse
from pytest_modelcheck.generation import compare_generation, wiring_of
from tests.gate_checks import said
from tests.generation_models import (
    AXES,
    SEQUENCE,
    Decoder,
    Plain,
    WithCacheObject,
    inputs,
    inputs_with_cache,
)


def generated(build, draw=inputs, axes=AXES, exporter="torchscript", **expected):
    case = ModelCase("decoder", build, draw, exporter=exporter, dynamic_axes=axes)
    gates = {"expect_generation": {"tokens": 6, **expected}}
    return check_export(case, gates=gates).results[0]


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_the_export_with_its_cache_chooses_the_tokens_of_torch(exporter):
    result = generated(Decoder, exporter=exporter)
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.startswith("6 tokens of 2 rows (")
    assert "without a cache" not in result.measured
    assert result.figures["generation"]["scaled_max"] < 1e-5
    assert re.search(r", first token [\d.e+]+ ms, then [\d.e+]+ tokens/s per row", result.measured)


def test_the_pace_is_that_of_the_median_step():
    steps = [np.eye(4)[:2]] * 4
    reports = [compare_generation(steps, steps, 1e-4, (first, 0.002, 0.002, 0.5)) for first in (0.01, 0.02, 0.03)]
    assert generation._pace(reports) == {"first_token_ms": 20.0, "next_token_ms": 2.0}


def test_a_prefill_begins_with_an_empty_cache():
    result = generated(Decoder, functools.partial(inputs, past=0, sequence=4), seeds=2)
    assert result.verdict is Verdict.PASS, said(result)
    assert result.measured.startswith("6 tokens of 4 rows")


def test_a_cache_that_comes_out_wrong_is_found_after_the_first_step():
    result = generated(functools.partial(Decoder, "cache"))
    assert result.verdict is Verdict.FAIL
    text = said(result)
    assert "expect_generation: tokens expected the 6 greedy tokens of torch" in text
    assert "(exported, torchscript)" in text
    assert "logits over tolerance from step 1" in text
    assert "The exporter changed what the decoder generates. Step 0 agrees: look at the cache, the mask" in text
    assert "optimized" not in text


def test_logits_that_are_wrong_at_once_are_a_matter_of_accuracy():
    text = said(generated(functools.partial(Decoder, "logits")))
    assert "other tokens from step 0" in text
    assert "The first step has it, too: expect_accuracy says more." in text


def test_a_cache_that_nothing_depends_on_shows_nothing():
    result = generated(functools.partial(Decoder, "blind"))
    assert result.verdict is Verdict.ERROR
    assert "cache expected logits that depend on the cache, found zeros in its place make no difference" in said(result)


def test_a_decoder_without_a_cache_reads_all_tokens_again():
    def ids(seed):
        return {"input_ids": torch.randint(0, 50, (2, 3), generator=torch.Generator().manual_seed(seed))}

    result = generated(Plain, ids, {"input_ids": SEQUENCE})
    assert result.verdict is Verdict.PASS, said(result)
    assert "without a cache" in result.measured


def test_a_cache_object_goes_in_and_comes_out():
    pytest.importorskip("transformers")
    axes = {"input_ids": SEQUENCE, "past_key_values": {0: "batch", 2: "past"}}
    case = ModelCase("decoder", WithCacheObject, inputs_with_cache, exporter="torchscript", dynamic_axes=axes)
    gates = {"expect_accuracy": {"seeds": 4}, "expect_generation": {"tokens": 6}}
    checked = check_export(case, gates=gates)
    assert checked.passed, str(checked)
    graph = checked.modelcheck.exported.model.graph
    assert [value.name for value in graph.inputs] == ["input_ids", "past_key_values.0.key", "past_key_values.0.value"]
    assert [value.name for value in graph.outputs] == ["logits", "present.0.key", "present.0.value"]
    assert "without a cache" not in checked.results[1].measured


def test_a_size_that_is_fixed_in_the_graph_ends_the_generation():
    result = generated(Decoder, axes={"input_ids": {0: "batch"}})
    assert result.verdict is Verdict.ERROR
    assert "generation expected a graph that runs step by step, found " in said(result)
    assert "past_key" in said(result)
    assert "Declare the axes that grow in dynamic_axes: the sequence, the past, and past + sequence" in said(result)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"tokens": 1}, "tokens=1 must be a whole number of at least 2: the second one reads the cache"),
        ({"seeds": 0}, "seeds=0 must be a whole number"),
        ({"tolerance": -1}, "tolerance=-1 must be a finite number"),
        ({"tolerance": {"logits": 1}}, r"tolerance=\{'logits': 1\} must be one number, of the logits"),
        ({"ids": 3}, "ids=3 must be a name"),
        ({"cache": "past"}, "cache='past' must be a dict from inputs to outputs"),
    ],
)
def test_bad_arguments(expected, message):
    with pytest.raises(MarkerError, match=message):
        parse(**expected)


# -- the wiring ---------------------------------------------------------------------------------------------------

IDS, STATE = np.zeros((2, 3), np.int64), np.zeros((2, 2, 5, 4), np.float32)


def test_names_say_what_inputs_are_for():
    given = {
        "decoder_input_ids": IDS,
        "attention_mask": np.ones((2, 8), np.int64),  # of the encoder, in an encoder-decoder
        "decoder_attention_mask": np.ones((2, 8), np.int64),
        "cache_position": np.arange(3),
        "past_key_values.0.decoder.key": STATE,
        "past_key_values.0.encoder.key": STATE,
    }
    made = wiring_of(given, ["logits", "present.0.decoder.key"])
    assert made.ids == "decoder_input_ids"
    assert made.grows == ("decoder_attention_mask",)
    assert made.positions == ("cache_position",)
    assert made.cache == {"past_key_values.0.decoder.key": "present.0.decoder.key"}


def test_a_cache_by_other_names_is_named():
    given = {"input_ids": IDS, "self_past.0": STATE, "cross_past.0": STATE}
    with pytest.raises(ModelCaseError, match=r'name both by cache=\{"past": "present"\}'):
        wiring_of(given, ["logits", "present.0"])
    assert wiring_of(given, ["logits", "present.0"], cache={"self_past": "present"}).cache == {
        "self_past.0": "present.0"
    }
    with pytest.raises(ModelCaseError, match=r"cache=\{'self': 'present'\}: 0 inputs \(none\) and 1 outputs"):
        wiring_of(given, ["logits", "present.0"], cache={"self": "present"})


def test_what_is_not_found_is_to_be_named():
    with pytest.raises(ModelCaseError, match="no input of token ids among words; name it by ids="):
        wiring_of({"words": IDS}, ["logits"])
    with pytest.raises(ModelCaseError, match="no output 'logits' among scores; name the logits by logits="):
        wiring_of({"words": IDS}, ["scores"], ids="words")


# -- the comparison -----------------------------------------------------------------------------------------------

TOLERANCE = 1e-5


def two(first, second):
    return [np.array([[first, second, 0.0]], np.float32)]


def test_a_near_tie_is_no_failure_and_a_clear_choice_is():
    near = compare_generation(two(1.0, 1.0 - 1.5e-5), two(1.0 - 1e-5, 1.0 - 0.5e-5), 1.01e-5)
    assert [str(step) for step in near.near_ties] == ["row 0, step 0: token 0 became 1, margin 1.5e-05"]
    assert near.passed
    clear = compare_generation(two(1.0, 0.9), two(0.9, 1.0), TOLERANCE)
    assert (len(clear.wrong), clear.over, clear.passed) == (1, 0, False)


def test_equal_tokens_of_other_logits_fail():
    report = compare_generation(two(1.0, 0.5) * 2, [*two(1.0, 0.5), *two(1.0, 0.6)], TOLERANCE)
    assert (report.wrong, report.over, report.passed, report.tokens) == ((), 1, False, 1)


def test_logits_that_are_no_number_fail():
    assert not compare_generation(two(1.0, 0.5), two(1.0, np.nan), TOLERANCE).passed
    masked = two(1.0, -np.inf)
    assert compare_generation(masked, masked, TOLERANCE).passed
