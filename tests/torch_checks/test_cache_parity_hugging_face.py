"""cache_parity on real decoders, two layers each, whose caches are `DynamicCache` and `EncoderDecoderCache`."""

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    WhisperConfig,
)
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from examples.zoo.jitter import jitter
from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.torch_checks.cache import cache_parity

LENGTH = 9
SMALL = {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}


def gpt2():
    return GPT2LMHeadModel(GPT2Config(**SMALL, n_embd=32, n_layer=2, n_head=2, n_positions=64))


def llama():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**SMALL, **sizes, num_key_value_heads=2))


def mistral():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return MistralForCausalLM(MistralConfig(**SMALL, **sizes, num_key_value_heads=2, sliding_window=4))


def t5():
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(**SMALL, **sizes, decoder_start_token_id=0))


def bart():
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    return BartForConditionalGeneration(BartConfig(**SMALL, **sizes, **heads, max_position_embeddings=64))


def whisper():
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}
    return WhisperDecoder(WhisperConfig(**SMALL, **sizes, max_target_positions=64, decoder_start_token_id=0))


def ids(seed):
    return torch.randint(3, 50, (2, LENGTH), generator=torch.Generator().manual_seed(seed))


def padded(seed):
    """The second row is padded at its end: the mask grows with the positions."""
    mask = torch.ones(2, LENGTH, dtype=torch.long)
    mask[1, 7:] = 0
    return {"input_ids": ids(seed), "attention_mask": mask}


def unpadded(seed):
    return {"input_ids": ids(seed), "attention_mask": torch.ones(2, LENGTH, dtype=torch.long)}


def encoder_decoder(seed):
    return {"input_ids": ids(seed + 100), "decoder_input_ids": ids(seed)}


def with_encoder_states(seed):
    states = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids(seed), "encoder_hidden_states": states}


MODELS = {
    "gpt2": (gpt2, padded, 4),
    "llama": (llama, padded, 4),
    "mistral": (mistral, padded, 6),
    "t5": (t5, encoder_decoder, 8),
    "bart": (bart, encoder_decoder, 8),
    "whisper": (whisper, with_encoder_states, 8),
}


def case_of(name):
    build, inputs, _ = MODELS[name]
    return ModelCase(name, lambda: jitter(build(), scale=0.1), inputs)


def parity(case, module, **options):
    return cache_parity(case, module, lambda seed: module_inputs(case, module, seed), **options)


@pytest.mark.parametrize("name", MODELS)
def test_a_decoder_needs_no_names_and_passes(name):
    case = case_of(name)
    report = parity(case, build_module(case))
    assert report.findings == (), "\n".join(finding.render() for finding in report.findings)
    assert len(report.tensors) == MODELS[name][2]
    assert all(probe.seen for probe in report.probes)
    assert report.scaled <= 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_a_mask_that_masks_nothing_is_tried_with_one_that_does(name):
    case = ModelCase(name, case_of(name).build, unpadded)
    report = parity(case, build_module(case))
    assert report.findings == (), "\n".join(finding.render() for finding in report.findings)
    assert report.streams[-1].name == "position 1 masked, one by one after a prefill"


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "t5"])
def test_keys_that_move_in_the_cache_are_found(name):
    case = case_of(name)
    module = build_module(case)

    def plant(attribute):
        def forget(self_attention, positional, named):
            cache = named.get(attribute)
            if cache is not None and cache.get_seq_length() > 2:
                for layer in getattr(cache, "self_attention_cache", cache).layers:
                    layer.keys = layer.keys.roll(1, 2) * 1.01
            return positional, named

        return forget

    module.register_forward_pre_hook(plant("past_key_values"), with_kwargs=True)
    report = parity(case, module)
    (finding,) = report.findings
    assert finding.verdict is Verdict.FAIL
    assert "layers.0.keys is the first that differs" in "\n".join(finding.where)


def test_a_cache_of_another_layer_is_found_in_gpt2():
    case = case_of("gpt2")
    module = build_module(case)
    first, second = (block.attn for block in module.transformer.h)
    first.layer_idx, second.layer_idx = 1, 1
    report = parity(case, module)
    assert not report.passed
    assert "expect_cache_parity" in report.findings[0].render()


def test_rotary_angles_from_the_start_of_the_chunk_are_found_in_llama():
    case = case_of("llama")
    module = build_module(case)

    def from_zero(rotary, positional, named):
        named["position_ids"] = named["position_ids"] - named["position_ids"][:, :1]
        return positional, named

    module.model.rotary_emb.register_forward_pre_hook(from_zero, with_kwargs=True)
    report = parity(case, module)
    assert {stream.name: stream.position for stream in report.streams}["chunks of 2"] == 2
    assert report.streams[0].finding is None


def test_an_encoder_has_no_cache():
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    case = ModelCase("bert", lambda: BertModel(config), padded)
    report = parity(case, build_module(case))
    assert report.findings[0].verdict is Verdict.ERROR
    assert "returned no cache 'past_key_values': it returned last_hidden_state, pooler_output" in (
        report.findings[0].render()
    )
