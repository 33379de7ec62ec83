"""What 14 architectures of transformers read in their forward, small and seeded: the measured list, line by line."""

import pytest
import torch
import transformers as hf

from pytest_modelcheck.torch_checks.transfers import TransferKind, host_transfers

WIDTH, HEADS, LAYERS, TOKENS = 32, 4, 2, 16
ENCODER = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": WIDTH}
SIDES = ("encoder", "decoder")
BOTH = {f"{side}_{what}": 2 for side in SIDES for what in ("layers", "attention_heads", "ffn_dim")}
WHISPER = {"d_model": WIDTH, "num_mel_bins": 8, "max_source_positions": TOKENS, **BOTH}

# The two places in transformers/masking_utils.py: a mask over all tokens, and a causal one.
FULL = "and (padding_mask is None or padding_mask.all())"
CAUSAL = "if (q_length == 1 or kv_length == q_length) and (padding_mask is None or fast_all(padding_mask)):"


def ids():
    return torch.randint(5, 90, (1, TOKENS))


def text():
    return {"input_ids": ids(), "attention_mask": torch.ones(1, TOKENS, dtype=torch.long)}


def both():
    return text() | {"decoder_input_ids": ids()}


def image():
    return {"pixel_values": torch.randn(1, 3, 32, 32)}


def whisper():
    return hf.WhisperModel(hf.WhisperConfig(vocab_size=99, pad_token_id=0, **WHISPER))


def whisper_decoder_inputs():
    return text() | {"encoder_hidden_states": torch.randn(1, TOKENS, WIDTH)}


ARCHITECTURES = {
    "bert": ([("", FULL)], lambda: hf.BertModel(hf.BertConfig(vocab_size=99, **ENCODER)), text),
    "distilbert": (
        [("", FULL)],
        lambda: hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=99, dim=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden_dim=WIDTH)
        ),
        text,
    ),
    "roberta": ([("", FULL)], lambda: hf.RobertaModel(hf.RobertaConfig(vocab_size=99, **ENCODER)), text),
    "albert": (
        [("", FULL)],
        lambda: hf.AlbertModel(hf.AlbertConfig(vocab_size=99, embedding_size=16, **ENCODER)),
        text,
    ),
    "gpt2": (
        [("", CAUSAL)],
        lambda: hf.GPT2Model(hf.GPT2Config(vocab_size=99, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)),
        text,
    ),
    "phi": ([("", CAUSAL)], lambda: hf.PhiModel(hf.PhiConfig(vocab_size=99, **ENCODER)), text),
    "llama": (
        [("", CAUSAL)],
        lambda: hf.LlamaModel(hf.LlamaConfig(vocab_size=99, num_key_value_heads=2, **ENCODER)),
        text,
    ),
    "whisper decoder": ([("", CAUSAL)], lambda: whisper().decoder, whisper_decoder_inputs),
    "t5": (
        [("encoder", FULL), ("decoder", FULL)],
        lambda: hf.T5Model(
            hf.T5Config(vocab_size=99, d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=LAYERS, num_heads=HEADS)
        ),
        both,
    ),
    "bart": (
        [("encoder", FULL), ("decoder", CAUSAL), ("decoder", FULL)],
        lambda: hf.BartModel(hf.BartConfig(vocab_size=99, d_model=WIDTH, **BOTH)),
        both,
    ),
    "whisper encoder": (
        [],
        lambda: whisper().encoder,
        lambda: {"input_features": torch.randn(1, 8, 2 * TOKENS)},
    ),
    "vit": ([], lambda: hf.ViTModel(hf.ViTConfig(image_size=32, **ENCODER)), image),
    "deit": ([], lambda: hf.DeiTModel(hf.DeiTConfig(image_size=32, **ENCODER)), image),
    "mobilevit": (
        [],
        lambda: hf.MobileViTModel(
            hf.MobileViTConfig(
                image_size=32,
                hidden_sizes=[8, 12, 16],
                neck_hidden_sizes=[4, 4, 8, 12, 16, 20, 24],
                num_attention_heads=4,
            )
        ),
        image,
    ),
}


def test_there_are_14_and_their_reads_are_1_each_2_of_t5_3_of_bart_and_none_of_encoders_without_a_mask():
    counts = [len(expected) for expected, _, _ in ARCHITECTURES.values()]
    assert counts == [1] * 8 + [2, 3] + [0] * 4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_reads_its_masks_in_the_measured_lines(name):
    expected, build, inputs = ARCHITECTURES[name]
    torch.manual_seed(0)
    found = host_transfers(build(), inputs())
    assert [(transfer.module, transfer.source_line.split(": ", 1)[1]) for transfer in found] == expected
    assert {transfer.kind for transfer in found} <= {TransferKind.READ}
    assert all(transfer.source_line.startswith("transformers/masking_utils.py:") for transfer in found)
