from dataclasses import dataclass

import pytest
import torch

from pytest_modelcheck.calling.structure import put_together, take_apart
from pytest_modelcheck.errors import ModelCaseError

transformers = pytest.importorskip("transformers")

KEYS = torch.arange(24.0).reshape(1, 2, 3, 4)


def cache(layers=2, positions=3):
    made = transformers.DynamicCache()
    for index in range(layers):
        made.update(KEYS[:, :, :positions] + index, KEYS[:, :, :positions] - index, index)
    return made


def taken(value):
    leaves = {}
    return take_apart(value, "past", leaves), leaves


def test_a_cache_names_its_tensors_by_layer():
    _, leaves = taken(cache())
    assert list(leaves) == ["past.0.key", "past.0.value", "past.1.key", "past.1.value"]
    assert torch.equal(leaves["past.1.value"], KEYS - 1)


def test_a_cache_is_a_new_one_for_each_call_around_other_tensors():
    given = cache()
    parts, leaves = taken(given)
    longer = [torch.cat([value, value], 2) for value in leaves.values()]
    made, again = put_together(parts, longer), put_together(parts, longer)
    made.update(KEYS[:, :, :1], KEYS[:, :, :1], 0)
    assert made.get_seq_length(0) == 7
    assert again.get_seq_length(0) == 6
    assert given.get_seq_length(0) == 3
    assert type(made) is type(given)


def test_a_layer_that_holds_nothing_yet_has_no_tensors():
    given = transformers.DynamicCache(config=transformers.LlamaConfig(num_hidden_layers=2))
    parts, leaves = taken(given)
    assert leaves == {}
    assert put_together(parts, []).get_seq_length() == 0


def test_a_window_that_holds_all_it_has_seen_has_seen_what_it_is_given():
    config = transformers.Gemma2Config(num_hidden_layers=1, sliding_window=8, layer_types=["sliding_attention"])
    given = transformers.DynamicCache(config=config)
    given.update(KEYS, KEYS, 0)
    parts, leaves = taken(given)
    shorter = [value[:, :, :2] for value in leaves.values()]
    assert put_together(parts, shorter).layers[0].cumulative_length == 2
    assert given.layers[0].cumulative_length == 3


def test_the_cache_of_an_encoder_decoder_holds_two_of_each_layer():
    given = transformers.EncoderDecoderCache(cache(1), cache(1, 2))
    parts, leaves = taken(given)
    assert list(leaves) == ["past.0.decoder.key", "past.0.decoder.value", "past.0.encoder.key", "past.0.encoder.value"]
    made = put_together(parts, list(leaves.values()))
    assert made.is_updated == {0: True}
    assert made.is_updated is not given.is_updated
    made.self_attention_cache.update(KEYS, KEYS, 0)
    assert (made.get_seq_length(), given.get_seq_length()) == (6, 3)


def test_a_cache_whose_tensors_are_written_into_is_refused():
    config = transformers.LlamaConfig(num_hidden_layers=1)
    given = transformers.StaticCache(config=config, max_cache_len=8)
    with pytest.raises(ModelCaseError, match=r"'past.0' is a layer of a StaticCache, .* give a DynamicCache"):
        taken(given)


def test_a_dataclass_stays_one():
    @dataclass
    class States:
        hidden: torch.Tensor
        scale: float = 1.0
        mask: torch.Tensor | None = None

    parts, leaves = taken(States(KEYS, 2.0))
    assert list(leaves) == ["past.hidden"]
    made = put_together(parts, [KEYS + 1])
    assert isinstance(made, States)
    assert (made.scale, made.mask) == (2.0, None)
    assert torch.equal(made.hidden, KEYS + 1)


def test_an_output_of_transformers_is_another_models_input():
    given = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=KEYS)
    parts, leaves = taken(given)
    assert list(leaves) == ["past.last_hidden_state"]
    assert torch.equal(put_together(parts, [KEYS + 1]).last_hidden_state, KEYS + 1)


def test_what_holds_no_tensors_is_refused():
    with pytest.raises(ModelCaseError, match=r"input 'past' is a set; an input is a tensor, a dict, list, tuple, data"):
        taken({1})
